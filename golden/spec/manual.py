"""Pages of the documentation with tables that follow from code."""

from golden.spec.errors import ConfigError

END = "<!-- end of tables -->\n"


def begin_mark(command: str) -> str:
    """Return the mark in front of the tables, which names the command that writes them."""
    return f"<!-- tables: {command} -->\n"


def with_tables(page: str, begin: str, tables: str) -> str:
    """Return the page with other tables between the mark `begin` and `END`.

    Raises:
        ConfigError: a mark is missing.
    """
    before, found, rest = page.partition(begin)
    _, end, behind = rest.partition(END)
    if not found or not end:
        raise ConfigError(f"the page has no tables; put {begin.strip()!r} and {END.strip()!r} in")
    return before + begin + tables + END + behind
