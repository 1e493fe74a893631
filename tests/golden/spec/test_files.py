import errno
import os
import re
import stat
import threading
import time
from pathlib import Path

import pytest

from golden.spec.errors import OutputError
from golden.spec.files import cache_folder, cached, make_folder, write_text


def refuses(message):
    return pytest.raises(OutputError, match=f"^{re.escape(message)}$")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NANDU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def plain_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("content")
    return path


def left_in(folder):
    """Everything below a folder but the locks, which are empty and stay."""
    return sorted(str(x.relative_to(folder)) for x in folder.rglob("*") if x.suffix != ".lock")


def fill_with(text):
    return lambda aside: (aside / "result").write_text(text)


def test_make_folder_makes_parents_and_leaves_nothing_in_it(tmp_path):
    folder = tmp_path / "a" / "b"
    assert make_folder(folder) == folder
    assert make_folder(folder) == folder
    assert left_in(tmp_path) == ["a", "a/b"]


def test_a_folder_below_a_file(plain_file):
    with refuses(
        f"cannot write to the folder '{plain_file}/out' (Not a directory); "
        "name one that can be written"
    ):
        make_folder(plain_file / "out")


def test_a_folder_that_is_a_file(plain_file):
    with refuses(
        f"cannot write to the folder '{plain_file}' (File exists); name one that can be written"
    ):
        make_folder(plain_file)


def test_a_folder_that_takes_no_files():
    with pytest.raises(OutputError, match=r"^cannot write to the folder '/proc' \(.+\); name one"):
        make_folder(Path("/proc"))


def test_write_text_replaces_the_content(tmp_path):
    path = tmp_path / "reports" / "report.html"
    write_text(path, "old")
    write_text(path, "new ×")
    assert path.read_bytes() == "new ×".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert left_in(tmp_path) == ["reports", "reports/report.html"]


def test_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.html"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert left_in(tmp_path) == ["report.html"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_text(path, "old")

    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", no_space)
    with refuses(f"cannot write '{path}' (No space left on device)"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert left_in(tmp_path) == ["report.html"]


def test_a_path_that_is_a_folder(tmp_path):
    with refuses(f"cannot write '{tmp_path}' (Is a directory)"):
        write_text(tmp_path, "text")
    assert left_in(tmp_path) == []


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/xdg")
    monkeypatch.setenv("NANDU_CACHE", "/var/nandu")
    assert cache_folder() == Path("/var/nandu")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NANDU_CACHE", "here")
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setenv("NANDU_CACHE", "")
    assert cache_folder() == Path("/var/xdg/nandu")
    monkeypatch.delenv("NANDU_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/someone/.cache/nandu")


def test_a_cached_folder_is_filled_once(cache):
    first = cached("models/x", fill_with("first"))
    second = cached("models/x", fill_with("second"))
    assert first == second == cache / "models" / "x"
    assert (first / "result").read_text() == "first"
    assert left_in(cache) == ["models", "models/x", "models/x/result"]


def test_a_filled_cache_is_only_read(cache):
    (cache / "x").mkdir(parents=True)
    cached("x", fill_with("x"))
    assert list(cache.rglob("*")) == [cache / "x"]


def test_names_do_not_share_a_folder(cache):
    assert cached("x", fill_with("x")) != cached("y", fill_with("y"))
    assert (cache / "y" / "result").read_text() == "y"


def test_a_cached_folder_appears_when_it_is_whole(cache):
    def fill(aside):
        (aside / "half").touch()
        assert not (cache / "x").exists()

    assert (cached("x", fill) / "half").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_fill_leaves_nothing_and_may_be_tried_again(cache, error):
    def interrupted(aside):
        (aside / "half").touch()
        raise error

    with pytest.raises(error):
        cached("x", interrupted)
    assert left_in(cache) == []
    assert (cached("x", fill_with("whole")) / "result").read_text() == "whole"


def test_two_at_a_time_fill_once(cache):
    filled = []
    together = threading.Barrier(2)

    def fill(aside):
        filled.append(aside)
        time.sleep(0.2)

    def ask():
        together.wait()
        cached("x", fill)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(filled) == 1
    assert left_in(cache) == ["x"]


def test_a_cache_that_cannot_be_written(plain_file, monkeypatch):
    monkeypatch.setenv("NANDU_CACHE", str(plain_file))
    with refuses(
        f"cannot write to the folder '{plain_file}/models' (Not a directory); "
        "name one that can be written"
    ):
        cached("models/x", fill_with("x"))
