"""Integer and compiled models in the cache: found again, made anew, and forgotten."""

import os
from dataclasses import replace

import pytest
import torch
from tiny_models import tiny_model

from golden.spec.core import CoreConfig
from nandu import made_models
from nandu.made_models import KEPT, MadeModel, _kept

CORE = CoreConfig(chains=3, m=8, strips=4, vector_depth=512, activation_depth=256)


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("NANDU_CACHE", str(tmp_path))
    return tmp_path


def made_times(monkeypatch):
    """Count how often a model is compiled."""
    calls = []
    real = made_models.compile_model

    def compile_model(*args):
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(made_models, "compile_model", compile_model)
    return calls


def test_a_compiled_model_is_found_again(monkeypatch):
    calls = made_times(monkeypatch)
    model = MadeModel(tiny_model(layers=1), {"file": "some digest"})
    first, second = (model.compiled(CORE, 32, 2) for _ in range(2))
    assert len(calls) == 1
    assert first.plan == second.plan
    assert first.program(5, tokens=2) == second.program(5, tokens=2)
    for port, image in first.images.items():
        assert (second.images[port] == image).all()
    for core, positions, chunk in (
        (replace(CORE, strips=8), 32, 2),
        (CORE, 33, 2),
        (CORE, 32, 1),
    ):
        model.compiled(core, positions, chunk)
    MadeModel(model.transformer, {"file": "another"}).compiled(CORE, 32, 2)
    assert len(calls) == 5


def test_what_another_code_made_is_not_taken(monkeypatch):
    calls = made_times(monkeypatch)
    model = MadeModel(tiny_model(layers=1), {})
    model.compiled(CORE, 32, 1)
    monkeypatch.setattr(made_models, "code_digest", lambda *_: "another")
    model.compiled(CORE, 32, 1)
    assert len(calls) == 2


def test_nothing_is_left_of_what_broke_off(store):
    def breaks():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _kept("kind", {}, breaks)
    assert torch.equal(_kept("kind", {}, lambda: torch.ones(2)), torch.ones(2))


def test_what_was_used_longest_ago_is_forgotten(store):
    def numbers():
        return {int(torch.load(path)) for path in (store / "kind").glob("*/made.pt")}

    for number in range(KEPT + 2):
        _kept("kind", {"number": number}, lambda value=number: torch.tensor(value))
    assert numbers() == {*range(KEPT + 2)}  # all of the last hour
    for folder in (store / "kind").iterdir():
        os.utime(folder, (0, 0))
    _kept("kind", {"number": 3}, lambda: pytest.fail("it is there"))
    assert len(numbers()) == KEPT and 3 in numbers()
