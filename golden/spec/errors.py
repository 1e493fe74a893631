"""The errors a user can cause.

Each carries one clear sentence: the value, what is allowed, and what to do. The command line prints
that sentence and exits with 2; anything that is not a `NanduError` is a bug of ours.
"""


class NanduError(Exception):
    """The root of every error that a user's input or machine can cause."""


class ConfigError(NanduError, ValueError):
    """A field of a configuration is outside its range."""


class ShapeError(NanduError, ValueError):
    """A tensor's shape or type does not fit the block that takes it."""


class ModelFileError(NanduError):
    """A model file is missing, truncated, or not what it should be."""


class OutputError(NanduError):
    """A result cannot be written where it was asked for."""


class ToolError(NanduError):
    """A program that Nandu needs is missing or failed."""
