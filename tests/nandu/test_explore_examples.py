"""The scripts in examples/ that explore: what they print, and what must be true of it."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path("examples")
NAMES = ("sweep_sparsity", "drives_until_the_gpu", "fpga_against_h100", "serving_policies")


def printed(name, capsys):
    """Return the lines that a script prints."""
    runpy.run_path(str(EXAMPLES / f"{name}.py"))
    return capsys.readouterr().out.splitlines()


def numbers(line):
    return [float(one) for one in re.findall(r"(?<![\w-])\d+(?:\.\d+)?(?!\w)", line)]


@pytest.mark.parametrize("name", NAMES)
def test_they_are_short(name):
    assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) < 60


def test_fewer_weights_are_quicker(capsys):
    rows = [numbers(line) for line in printed("sweep_sparsity", capsys)[2:]]
    assert [row[:2] for row in rows] == [[n, b] for b in (8, 4) for n in (16, 8, 4, 2)]
    for bits in (8, 4):
        rates = [row[2] for row in rows if row[1] == bits]
        assert rates == sorted(rates)


def test_more_drives_are_quicker(capsys):
    lines = printed("drives_until_the_gpu", capsys)
    rates = [numbers(line)[1] for line in lines if "drives:" in line]
    assert len(rates) == 14
    assert rates[:7] == sorted(rates[:7])
    assert rates[7:] == sorted(rates[7:])
    assert all(sparse > dense for sparse, dense in zip(rates[:7], rates[7:], strict=True))


def test_a_batch_makes_a_gpus_token_cheaper(capsys):
    rows = [numbers(line) for line in printed("fpga_against_h100", capsys)[2:]]
    assert [row[0] for row in rows] == [128, 512, 1024]
    for _, own, *gpu, said in rows:
        assert gpu == sorted(gpu, reverse=True)
        assert said == next(2**k for k, joules in enumerate(gpu) if joules < own)


def test_continuous_batching_waits_least(capsys):
    rows = [numbers(line) for line in printed("serving_policies", capsys)[2:]]
    first_tokens = [row[0] for row in rows]
    assert len(rows) == 3
    assert min(first_tokens) == first_tokens[1]
