import sys

import pytest
from hypothesis import settings

from nandu import cli

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command line; return its exit status, standard output and standard error."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["nandu", *map(str, words)])
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return call
