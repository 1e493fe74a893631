"""The progress display: a line per stage, with a bar while it runs and its time at the end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Update = Callable[[float], None]
"""Called with the part of a stage that is done, 0 to 1."""


class Stages:
    """Shows the stages of a long command on standard error; `seconds` holds how long each took.

    On a terminal each stage has a moving bar; elsewhere each prints one line when it is done.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> "Stages":
        """Begin the display."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the display; what was shown stays."""
        self._progress.stop()

    @contextmanager
    def stage(self, description: str) -> Iterator[Update]:
        """Show `description` while the block runs; it may call the value as it gets on."""
        start = time.perf_counter()
        task = self._progress.add_task(description, total=None)

        def update(part: float) -> None:
            self._progress.update(task, total=1.0, completed=part)

        yield update
        update(1.0)
        self.seconds[description] = time.perf_counter() - start
        if not self._console.is_terminal:
            self._console.print(
                f"✓ {description} ({self.seconds[description]:.1f} s)", highlight=False
            )
