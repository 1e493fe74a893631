"""The manifest of an image: what it was made of, with what, and what came out.

A JSON file beside the image. `digest` is over all the rest, so a manifest that was changed by hand,
or cut short, is found out.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from golden.spec.errors import ConfigError
from golden.spec.files import write_text

MANIFEST = "manifest.json"
VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """What a build was.

    Attributes:
        settings: the design's configuration. seed: of the placement.
        tools: versions by name. files: the SHA-256 of each file, by its name, sources first.
        resources: what the design takes. fmax_mhz, clock_mhz: as of `bitstreams.open_flow.Build`.
        image: the name of the image among the files. The vendor flow writes a project, which has
            none yet, and no frequency.
    """

    board: str
    design: str
    flow: str
    settings: Mapping[str, int]
    seed: int
    tools: Mapping[str, str]
    files: Mapping[str, str]
    resources: Mapping[str, int]
    fmax_mhz: float | None
    clock_mhz: float
    image: str | None
    version: int = VERSION

    @property
    def sha256(self) -> str | None:
        """The image's SHA-256; None where there is none."""
        return self.files[self.image] if self.image else None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest: the same one gives the same bytes.

    Raises:
        OutputError: it cannot be written.
    """
    fields = asdict(manifest)
    text = json.dumps({**fields, "digest": _digest(fields)}, indent=2, sort_keys=True)
    write_text(path, text + "\n")


def read_manifest(path: Path) -> Manifest:
    """Return the manifest in a file.

    Raises:
        ConfigError: there is none, or it is not as it was written.
    """
    advice = "build the image again, without --check"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        digest = fields.pop("digest")
        whole = digest == _digest(fields) and fields["version"] == VERSION
    except OSError as error:
        raise ConfigError(
            f"cannot read the manifest {str(path)!r} ({error.strerror}); {advice}"
        ) from None
    except (ValueError, KeyError, AttributeError, TypeError):
        whole = False
    if not whole:
        raise ConfigError(f"the manifest {str(path)!r} is damaged; {advice}")
    try:
        return Manifest(**fields)
    except TypeError:
        raise ConfigError(f"the manifest {str(path)!r} is damaged; {advice}") from None


def differences(first: Manifest, second: Manifest) -> list[str]:
    """Return what differs between two builds, each with both values; nothing where they agree."""
    found = []
    old, new = _flat(asdict(first)), _flat(asdict(second))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            found.append(f"{key}: {old.get(key)} before, {new.get(key)} now")
    return found


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return flat
