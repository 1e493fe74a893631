import pytest

from golden.spec.errors import OutputError, ToolError
from golden.spec.matrix_engine import MatrixEngineConfig
from hw import cosim
from hw.emit import Design, Port, emit
from hw.matrix_engine import MatrixEngine

COUNTER = Design(
    top="counter",
    verilog="""
module counter(input clk, input rst, output reg [7:0] o);
  always @(posedge clk) if (rst) o <= 0; else o <= o + 1;
endmodule
""",
    modules=("counter",),
    ports=(Port("clk", "input", 1), Port("rst", "input", 1), Port("o", "output", 8)),
)
BENCH = """
import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

@cocotb.test()
async def counts(dut):
    Clock(dut.clk, 2, unit="ns").start()
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    for _ in range(11):
        await RisingEdge(dut.clk)
    assert int(dut.o.value) == {expected}
"""


def hierarchy(fst):
    """Return the names in an FST file: its block 6, in LZ4 after the sizes of block and content."""
    at = 0
    while fst[at] != 6:
        at += 1 + int.from_bytes(fst[at + 1 : at + 9], "big")
    end = at + 1 + int.from_bytes(fst[at + 1 : at + 9], "big")
    content = decompress(fst[at + 17 : end])
    assert len(content) == int.from_bytes(fst[at + 9 : at + 17], "big")
    return content


def decompress(block):
    """Return the content of an LZ4 block."""
    out, at = bytearray(), 0

    def length(nibble):
        nonlocal at
        total = nibble
        while nibble == 15:
            total += block[at]
            at += 1
            if block[at - 1] < 255:
                break
        return total

    while at < len(block):
        token = block[at]
        at += 1
        literals = length(token >> 4)
        out += block[at : at + literals]
        at += literals
        if at == len(block):
            break
        offset = int.from_bytes(block[at : at + 2], "little")
        at += 2
        for _ in range(length(token & 15) + 4):
            out.append(out[-offset])
    return bytes(out)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def write(text):
        (tmp_path / "counter_bench.py").write_text(text)
        return "counter_bench"

    return write


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NANDU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_bench_passes_and_fails_with_its_design(bench, tmp_path):
    simulator = cosim.build(COUNTER)
    assert cosim.run(simulator, bench(BENCH.format(expected=10)), tmp_path)
    assert not cosim.run(simulator, bench(BENCH.format(expected=11)), tmp_path)


def test_a_design_is_built_once(monkeypatch):
    first = cosim.build(COUNTER)
    monkeypatch.setattr(cosim, "_execute", lambda *_: pytest.fail("built again"))
    assert cosim.build(COUNTER) == first


def test_of_a_build_only_program_and_sources_are_kept():
    folder = cosim.build(COUNTER).executable.parent
    assert sorted(path.name for path in folder.iterdir()) == ["control.vlt", "counter", "counter.v"]


def test_another_text_is_another_simulator():
    other = Design("counter", COUNTER.verilog + "// changed\n", ("counter",), COUNTER.ports)
    assert cosim.build(other).executable != cosim.build(COUNTER).executable


def test_a_waveform_is_written_on_request(bench, tmp_path):
    waves = tmp_path / "new" / "counter.fst"
    simulator = cosim.build(COUNTER, waves=True)
    assert cosim.run(simulator, bench(BENCH.format(expected=10)), tmp_path, waves=waves)
    names = hierarchy(waves.read_bytes())
    assert b"counter\0" in names
    assert names.count(b"o\0") >= 1


def test_a_waveform_that_cannot_be_written_is_refused(bench, tmp_path):
    (tmp_path / "file").write_text("")
    simulator = cosim.build(COUNTER, waves=True)
    with pytest.raises(OutputError, match=r"^cannot write to the folder '.*/file'"):
        cosim.run(simulator, bench(""), tmp_path, waves=tmp_path / "file" / "counter.fst")


def test_a_simulation_that_breaks_off_says_so(bench, tmp_path):
    simulator = cosim.build(COUNTER)
    with pytest.raises(ToolError, match=r"^the simulation of counter_bench broke off: .*"):
        cosim.run(simulator, bench("import os\nos._exit(3)\n"), tmp_path)


def test_verilog_that_is_wrong_is_reported_with_its_line_and_leaves_nothing(cache):
    wrong = Design("counter", "module counter(input clk); no_such u(); endmodule", (), ())
    with pytest.raises(ToolError, match=r"^verilator failed while a simulator was built: %Error.*"):
        cosim.build(wrong)
    assert [path for path in (cache / "simulators").iterdir() if path.is_dir()] == []


def test_an_interrupted_build_leaves_nothing(cache, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cosim, "_execute", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cosim.build(COUNTER)
    assert [path for path in (cache / "simulators").iterdir() if path.is_dir()] == []


def test_no_compiler_is_one_clear_line(cache, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    cosim._tool_versions.cache_clear()
    with pytest.raises(
        ToolError,
        match=r"^the C\+\+ compiler 'g\+\+' is not on the PATH; install g\+\+ or set CXX$",
    ):
        cosim.build(COUNTER)


def test_only_ports_are_visible():
    control = cosim._control(COUNTER)
    assert 'public_flat_rw -module "counter" -var "o"' in control
    assert control.count("public_flat_rw") == 3
    assert "hier_block" not in control


def test_a_block_that_says_so_is_compiled_apart():
    design = emit(MatrixEngine, MatrixEngineConfig(chains=3))
    (unit,) = design.apart
    assert cosim._control(design).count(f'hier_block -module "{unit}"') == 1
