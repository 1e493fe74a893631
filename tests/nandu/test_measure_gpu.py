"""What `nandu measure-gpu` runs, on a CPU and a tiny shape; no card is needed."""

import json

import pytest
import torch

from golden.model_shapes import ModelShape
from golden.spec.errors import ToolError
from nandu import measure_gpu
from nandu.gpu_decoder import Decoder, dense, int8
from nandu.measure_gpu import Card, file_name, find_card, measure, write_baseline
from sim.baselines import load_baseline
from sim.workload import Workload

TINY = {
    **{"source": "made up", "layers": 2, "hidden": 64, "heads": 4, "kv_heads": 2},
    **{"head_size": 16, "feed_forward": 96, "vocabulary": 256},
}
CPU = Card("cpu", "A (test) CPU")
WORK = Workload(batch=2, prefill=6, decode=4)


def shape(**fields):
    return ModelShape(name="tiny", **(TINY | fields))


@pytest.mark.parametrize(
    "fields", [{}, {"gated": False, "kv_heads": 4}, {"parallel": True}, {"tied": True}]
)
@torch.inference_mode()
def test_steps_give_what_a_prompt_of_the_same_tokens_gives(fields):
    torch.manual_seed(1)
    tokens = torch.randint(256, (2, 6))
    stepping = Decoder(shape(**fields), 2, 12, "cpu", torch.float64)
    whole = Decoder(shape(**fields), 2, 12, "cpu", torch.float64)
    last = stepping.prefill(tokens)
    for _ in range(5):
        tokens = torch.cat((tokens, last), 1)
        last = stepping.step(last)
        assert torch.equal(last, whole.prefill(tokens))
    assert stepping.position.item() == 11
    for mine, theirs in zip(stepping.caches, whole.caches, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert torch.allclose(a[:, :, :11], b[:, :, :11])
            assert (a[:, :, :11] != 0).any(-1).all()


@torch.inference_mode()
def test_int8_products_are_near_float_ones():
    torch.manual_seed(0)
    weights, values = torch.randn(48, 64), torch.randn(2, 3, 64)
    near, exact = int8(weights)(values), dense(weights)(values)
    assert near.shape == exact.shape
    assert (near - exact).norm() < 0.02 * exact.norm()
    assert not torch.equal(near, exact)


@pytest.mark.parametrize("form", measure_gpu.FORMATS)
def test_times_of_a_workload(form):
    row = measure(CPU, shape(), WORK, form, repeats=2)
    assert (row.model, row.format, row.batch, row.prefill, row.decode) == ("tiny", form, 2, 6, 4)
    assert row.tokens_per_s == pytest.approx(2e3 / row.tpot_ms)
    assert row.joules_per_token is None
    assert row.repeats == 2


def test_energy_is_that_of_the_runs_that_count():
    """The k-th run takes 4 k + 1 joules of a counter of squares; the first three do not count."""
    read = iter(range(100))
    row = measure(Card("cpu", "", lambda: float(next(read) ** 2)), shape(), WORK, "fp16", repeats=2)
    assert measure_gpu.WARM_UP == 3
    assert row.joules_per_token == (13 + 17) / 2 / 8


def test_a_file_is_read_back(tmp_path):
    rows = [measure(CPU, shape(), WORK, "bf16", repeats=1)]
    path = tmp_path / "baselines" / file_name(CPU)
    write_baseline(path, CPU, rows)
    found = load_baseline(path)
    assert path.name == "a-test-cpu.json"
    assert (found.device, found.rows, found.graphs) == (CPU.name, tuple(rows), False)
    assert found.versions == {"torch": torch.__version__}


def test_the_command_where_there_is_a_card(run, tmp_path, monkeypatch):
    monkeypatch.setattr(measure_gpu, "find_card", lambda: CPU)
    monkeypatch.setattr("golden.model_shapes.load", lambda _: shape())
    words = ["measure-gpu", "--model", "tiny", "--prefill", 6, "--decode", 4]
    words += ["--batch", 1, "--batch", 2, "--format", "fp16", "--repeats", 1]
    status, out, _ = run(*words, "--out", tmp_path / "cpu.json", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["device"] == CPU.name
    assert [row["batch"] for row in found["rows"]] == [1, 2]
    assert load_baseline(tmp_path / "cpu.json").rows[1].batch == 2


def test_help_has_an_example(run):
    status, out, _ = run("measure-gpu", "--help")
    assert status == 0
    assert "Example: nandu measure-gpu" in " ".join(out.split())


def test_no_card_is_one_line(run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ToolError, match=r"^no CUDA card was found"):
        find_card()
    status, _, error = run("measure-gpu", "--model", "llama-2-7b")
    assert status == 2
    assert error.startswith("error: no CUDA card was found")
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--model", "lama"], "there is no model 'lama'"),
        (["--model", "opt-13b", "--format", "fp8"], "--format is 'fp8'; known are fp16"),
        (["--model", "opt-13b", "--decode", "0"], "at least 1 is needed"),
        (["--model", "opt-13b", "--batch", "0"], "batch is 0"),
    ],
)
def test_bad_input_is_one_line(run, words, says):
    status, _, error = run("measure-gpu", *words)
    assert status == 2
    assert says in error
    assert len(error.strip().splitlines()) == 1
