import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
import yaml

from golden.spec.errors import ConfigError, OutputError, ToolError
from sim.explore import engine, resources, study
from sim.explore.engine import LocalEngine, make_engine
from sim.explore.export import write_parquet
from sim.explore.front import front, unbeaten
from sim.explore.point import Outcome
from sim.explore.run import explore
from sim.explore.search import make_search
from sim.explore.study import Study, read_point
from tests.sim.explore_cases import GPU, rows, space


@pytest.fixture
def made(tmp_path):
    """Return the path of a space's file; with fields of its own, if any are given."""

    def make(fields=GPU, **others):
        path = tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump(fields | others))
        return path

    return make


def test_an_exploration(made, tmp_path):
    path, seen = tmp_path / "deep" / "a.study", []
    done = explore(made(), path, progress=lambda *which: seen.append(which))
    assert done.points == 12
    assert seen[-1] == (12, None)
    found = rows(path)
    assert [one.number for one in found] == list(range(12))
    assert {one.state for one in found} == {study.DONE}
    assert all(one.outcome.record["ttft_ms"] > 0 for one in found)
    assert explore(made(), path).points == 0  # nothing is done twice
    assert rows(path) == found
    assert explore(made(title="another title"), path).points == 0


@pytest.mark.parametrize("search", ["grid", "nsga2"])
def test_two_workers_find_what_one_does(made, tmp_path, search):
    file = made(search=search)
    for workers in (1, 2):
        explore(file, tmp_path / str(workers), workers=workers, seed=4, budget=12)
    assert rows(tmp_path / "1") == rows(tmp_path / "2")


@pytest.mark.parametrize("search", ["grid", "random", "nsga2"])
def test_a_budget_is_raised(made, tmp_path, search):
    file = made(search=search, parameters=GPU["parameters"] | {"prefill": {"from": 8, "to": 99}})
    for budget in (5, 40):
        explore(file, tmp_path / "a", budget=budget, seed=1)
    explore(file, tmp_path / "b", budget=40, seed=1)
    assert len(rows(tmp_path / "a")) == 40
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_failed_points_do_not_stop_it(made, tmp_path):
    file = made(parameters=GPU["parameters"] | {"model": ["llama-3.1-405b", "opt-125m"]})
    explore(file, tmp_path / "a")
    with Study.read(tmp_path / "a") as read:
        assert read.counts() == {"done": 12, "failed": 12}
        assert "too few" in read.first_error()
        assert {one.configuration["model"] for one in front(read.space, read.points())} == {
            "opt-125m"
        }


def test_an_empty_space(made, tmp_path):
    with pytest.raises(ConfigError, match="no point is in the space"):
        explore(made(where=["prefill < 1"]), tmp_path / "a")


# Interrupted


KILLED = """
import sys
from pathlib import Path
from sim.explore.run import explore
explore(Path(sys.argv[1]), Path(sys.argv[2]), seed=5, budget=100, workers=int(sys.argv[3]))
"""


@pytest.mark.parametrize(
    ("kills", "workers"),
    [
        (2, 1),
        pytest.param(20, 1, marks=pytest.mark.full),
        pytest.param(4, 2, marks=pytest.mark.full),
    ],
)
def test_killed_and_resumed(made, tmp_path, kills, workers):
    """What is in the file when it dies is all that is done, and nothing is done again."""
    prefill = {"from": 8, "to": 999}
    file = made(search="nsga2", parameters=GPU["parameters"] | {"prefill": prefill})
    path, counts = tmp_path / "a", []
    for number in range(kills):
        words = [sys.executable, "-c", KILLED, file, path, workers]
        with subprocess.Popen([*map(str, words)], start_new_session=True) as process:
            goal = (number + 1) * 90 // kills
            limit = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < limit and _count(path) < goal:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
        counts.append(_count(path))
    assert counts == sorted(counts)
    assert 0 < counts[0] < 100
    done = explore(file, path, seed=5, budget=100)
    assert done.points == 100 - counts[-1]
    explore(file, tmp_path / "whole", seed=5, budget=100)
    assert rows(path) == rows(tmp_path / "whole")


def _count(path):
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            return database.execute("SELECT COUNT(*) FROM points").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def test_a_worker_that_dies():
    some = space()
    batch = list(enumerate(make_search(some, 0).ask()))
    with LocalEngine(some, 1) as machine, pytest.raises(ToolError, match="ended from outside"):
        for number, _ in enumerate(machine.run(batch * 200)):
            if number == 0:
                for pid in machine._pool._processes:
                    os.kill(pid, signal.SIGKILL)


# Bad files


@pytest.fixture
def small(made, tmp_path):
    path = tmp_path / "small"
    explore(made(), path)
    return path


def _changed(path, statement):
    with sqlite3.connect(path) as database:
        database.execute(statement)


def test_a_study_of_another_version(small, made):
    _changed(small, "PRAGMA user_version = 9")
    for use in (lambda: explore(made(), small), lambda: Study.read(small)):
        with pytest.raises(ConfigError, match="a study of version 9; this Nandu reads version 1"):
            use()


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.99])
def test_a_truncated_study(small, made, kept):
    whole = small.read_bytes()
    small.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ConfigError, match="no study, or a truncated one"):
        explore(made(), small)


@pytest.mark.parametrize("text", ["not a database at all, however long it is" * 99, "x"])
def test_a_file_that_is_no_study(tmp_path, made, text):
    path = tmp_path / "a"
    path.write_text(text)
    with pytest.raises(ConfigError, match="no study"):
        explore(made(), path)
    assert path.read_text() == text


def test_a_database_of_somebody_else(tmp_path, made):
    with sqlite3.connect(tmp_path / "a") as database:
        database.execute("CREATE TABLE mine (x)")
    with pytest.raises(ConfigError, match="is not a study"):
        explore(made(), tmp_path / "a")


def test_another_space_or_seed(small, made):
    with pytest.raises(ConfigError, match="another space"):
        explore(made(search="random"), small)
    with pytest.raises(ConfigError, match="begun with seed 0, not 7"):
        explore(made(), small, seed=7)


def test_two_at_a_time(made, tmp_path):
    text = made().read_text()
    one = Study.create(tmp_path / "a", space(), text, 0)
    with one, pytest.raises(ConfigError, match="being written"):
        Study.create(tmp_path / "a", space(), text, 0)


def test_another_search_than_the_studys(small, made):
    _changed(small, "UPDATE points SET configuration = '{}' WHERE number = 3")
    with pytest.raises(ConfigError, match="another point 3"):
        explore(made(), small)


def test_a_full_disk(made, tmp_path, monkeypatch):
    """SQLite gets fewer pages than it needs."""
    plain = study._connect

    def little(path):
        database = plain(path)
        database.execute("PRAGMA max_page_count = 9")
        return database

    monkeypatch.setattr(study, "_connect", little)
    with pytest.raises(OutputError, match=r"disk is full.*the points that it has are kept"):
        explore(made(), tmp_path / "a")
    monkeypatch.undo()
    kept = len(rows(tmp_path / "a"))
    assert 0 < kept < 12
    assert explore(made(), tmp_path / "a").points == 12 - kept


def test_points_by_name(small, tmp_path):
    _, stored = read_point(f"{small}#3")
    assert stored == rows(small)[3]
    for name, message in [
        (f"{small}#12", "has no point 12; it has 12"),
        (f"{small}", "STUDY#POINT"),
        (f"{small}#x", "STUDY#POINT"),
        (f"{tmp_path}/none#1", "there is no study"),
    ]:
        with pytest.raises(ConfigError, match=message):
            read_point(name)


# What is made of it


def test_unbeaten():
    points = {"a": [1, 5], "b": [2, 4], "c": [1, 4], "d": [5, 1], "e": [5, 1], "f": [4, 0]}
    assert unbeaten([(reached, name) for name, reached in points.items()]) == ["d", "b", "a"]


def test_a_front_has_feasible_points_only(small):
    with Study.read(small) as read:
        points = list(read.points())
        best = front(read.space, points)
        assert len(best) == 1  # the smallest is the quickest
        left = [one for one in points if one.number != best[0].number]
        assert front(read.space, left)
        worse = [
            study.Stored(p.number, p.state, p.configuration, "", Outcome(p.outcome.record))
            for p in points
        ]
        assert front(read.space, worse) == []


def test_parquet(small, tmp_path):
    from pyarrow import parquet

    with Study.read(small) as read:
        write_parquet(read, tmp_path / "a.parquet", {2})
    table = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [one["number"] for one in table] == list(range(12))
    assert [one["number"] for one in table if one["front"]] == [2]
    for one, stored in zip(table, rows(small), strict=True):
        assert one["ttft_ms"] == stored.outcome.record["ttft_ms"]
        assert one["set.batch"] == stored.configuration["batch"]
    with Study.read(small) as read, pytest.raises(OutputError, match="cannot write"):
        write_parquet(read, small / "a.parquet")


@pytest.mark.parametrize(
    ("name", "workers", "message"),
    [("local", 0, "1 to 1,024"), ("local", 2000, "1 to 1,024"), ("slurm", 1, "no engine 'slurm'")],
)
def test_wrong_engines(name, workers, message):
    with pytest.raises(ConfigError, match=message):
        make_engine(name, space(), workers)


def test_answers_are_those_of_the_engine_in_this_process():
    some = space()
    batch = list(enumerate(make_search(some, 0).ask()))
    with make_engine("local", some, 1) as one, make_engine("local", some, 2) as two:
        assert sorted(one.run(batch)) == sorted(two.run(batch)) == engine.answers(some, batch)


# Resources


def test_the_model_is_near_what_was_not_fitted():
    found = resources.errors(resources.rows(held_out=True))
    assert max(found[resources.ENGINE].values()) < 0.1
    assert max(found[resources.FUNCTIONS].values()) < 0.2


def test_resources_grow_with_the_design():
    engine = {
        "chains": 4,
        "chain_length": 16,
        "products_per_dsp": 2,
        "m": 16,
        "activation_depth": 2048,
    }
    one = resources.block(resources.ENGINE, engine)
    two = resources.block(resources.ENGINE, engine | {"chains": 8})
    assert all(two[name] >= one[name] for name in resources.RESOURCES)
    assert one["dsp"] == pytest.approx(80, rel=0.05)
