"""The hardware blocks, each with its configuration, its contract and its bench."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import hw.core_coverage
import hw.engine_cases
import hw.sfu_cases
import hw.verify_chain
import hw.verify_core
import hw.verify_engine
import hw.verify_special_functions
import storage_engine.arg_top_k_cases
import storage_engine.attention_engine_trials
import storage_engine.bch_cases
import storage_engine.slice_cases
import storage_engine.verify_arg_top_k
import storage_engine.verify_attention_engine
import storage_engine.verify_attention_slice
import storage_engine.verify_bch
from golden.spec.arg_top_k import ArgTopKConfig
from golden.spec.bch import BchConfig
from golden.spec.control import REGISTERS
from golden.spec.core import CoreConfig
from golden.spec.drive_engine import DriveEngineConfig
from golden.spec.errors import ConfigError
from golden.spec.matrix_engine import MatrixEngineConfig
from golden.spec.sparse_chain import SparseChainConfig
from golden.spec.special_function_unit import SpecialFunctionUnitConfig
from hw.accelerator import Accelerator, core_prefix
from hw.core import Core
from hw.core_parts import APART, PARTS
from hw.core_ports import port_names, prefix
from hw.matrix_engine import MatrixEngine
from hw.sfu_timing import STAGES
from hw.sparse_chain import SparseChain
from hw.special_function_unit import SpecialFunctionUnit
from storage_engine.arg_top_k import ArgTopK
from storage_engine.attention_engine import AttentionEngine, check_parts
from storage_engine.attention_slice import AttentionSlice, weight_cycles
from storage_engine.bch_codec import BchCodec
from storage_engine.bch_decoder import BchDecoder

Config = (
    SparseChainConfig
    | MatrixEngineConfig
    | SpecialFunctionUnitConfig
    | CoreConfig
    | BchConfig
    | ArgTopKConfig
    | DriveEngineConfig
)


@dataclass(frozen=True)
class Block:
    """A block that can be generated.

    Attributes:
        config: class of its configuration. component: class that is emitted.
        summary: one line for `nandu list`.
        contract: of a configuration: where its timing contract is, what it says, and its latency.
        crosses: of a configuration: all combinations of mode, pauses, ... that a case may have.
        random_cases: of a configuration, so many cases, from a seed.
        coverage: of cases: the part of the crosses that they hit, 0 to 1.
        run_cases: runs cases on the Verilog, and returns their results.
        defaults: fields whose default differs from that of the configuration's class.
        check: raises ConfigError for a configuration that is another block's.
        about: of a configuration, what its description says beside the contract.
        apart, parts: how a large block is mapped and counted, see `hw.synth.synthesise`.
    """

    config: type[Any]
    component: type[Any]
    summary: str
    contract: Callable[[Any], dict[str, Any]]
    crosses: Callable[[Any], Sequence[Any]]
    random_cases: Callable[[Any, int, int], list[Any]]
    coverage: Callable[[Sequence[Any]], float]
    run_cases: Callable[..., list[Any]]
    defaults: Mapping[str, int] = field(default_factory=dict)
    check: Callable[[Any], None] = lambda _: None
    about: Callable[[Any], dict[str, Any]] = lambda _: {}
    apart: Sequence[str] = ()
    parts: Mapping[str, str] = field(default_factory=dict)


def _contract_of_chain(config: SparseChainConfig) -> dict[str, Any]:
    return {
        "cycles": "hw.sparse_chain.SparseChain.cycles: beats of all passes + m + latency, where "
        "every column has at least m beats",
        "latency": SparseChain.latency(config),
        "cycles_of_one_block": {n: SparseChain.cycles(config, [n]) for n in config.keeps},
    }


def _contract_of_engine(config: MatrixEngineConfig) -> dict[str, Any]:
    return {
        "cycles": "hw.engine_timing.engine_cycles, of the passes of its chains and the sweeps of "
        "its buffers",
        "latency": SparseChain.latency(config.chain),
    }


def _contract_of_functions(config: SpecialFunctionUnitConfig) -> dict[str, Any]:
    return {
        "cycles": "hw.sfu_timing.schedule, of its jobs: a word per cycle, except where a scalar "
        "is waited for",
        "latency": STAGES,
    }


def _contract_of_core(_: CoreConfig) -> dict[str, Any]:
    return {
        "cycles": "hw.core_timing.program_cycles, of a program, its base registers and the weight "
        "streams in the channels' memories",
    }


def _contract_of_accelerator(_: CoreConfig) -> dict[str, Any]:
    return {
        "cycles": "hw.accelerator_timing.accelerator_cycles, of a program of each core, base "
        "registers and the weight streams in the channels' memories",
    }


def _contract_of_bch(config: BchConfig) -> dict[str, Any]:
    return {
        "cycles": "storage_engine.bch_decoder.BchDecoder.cycles: chunk_words per chunk, and the "
        "latency of the last one",
        "chunk_words": config.chunk_words,
        "cycles_of_a_chunk_with_errors": BchDecoder.chunk_period(config),
    }


def _contract_of_arg_top_k(config: ArgTopKConfig) -> dict[str, Any]:
    return {
        "cycles": "storage_engine.arg_top_k.ArgTopK.cycles, of the scores and k: a beat per cycle, "
        "and behind the last one a cycle per kept score and its way through the bitmap",
        "run": config.max_k,
    }


def _contract_of_slice(config: DriveEngineConfig) -> dict[str, Any]:
    return {
        "cycles": "storage_engine.attention_slice.AttentionSlice.cycles, of a dense job's pages; "
        "of any job, handshake by handshake, storage_engine.slice_timing",
        "latency": weight_cycles(config),
        "cycles_of_a_full_page": AttentionSlice.page_cycles(config, config.layout.group_tokens),
    }


def _contract_of_attention_engine(config: DriveEngineConfig) -> dict[str, Any]:
    return {
        "cycles": "storage_engine.attention_engine.AttentionEngine.cycles, of a dense job on an "
        "idle engine; SparF's jobs have contracts of their parts only",
        "bytes_per_cycle": config.flash_channels * config.code.word_bytes,
    }


_ENGINE_PARTS = {
    "front ends": r"front_end_\d+\.",
    "slices": r"slice_\d+\.",
    "readers": r"reader_\d+\.",
    "query unit": r"query_unit\.",
    "likelihood unit": r"likelihood\.",
    "finisher": r"finisher\.",
}


def _check_core(config: CoreConfig) -> None:
    if config.cores != 1:
        raise ConfigError(f"cores is {config.cores}; a core is one, the block accelerator has more")


def _check_accelerator(config: CoreConfig) -> None:
    if config.cores == 1:
        raise ConfigError("cores is 1; an accelerator has 2 to 8, and the block core is one")


def _about_core(config: CoreConfig) -> dict[str, Any]:
    """Return what a host and whoever connects memories need to know."""
    cores = [core_prefix(core) for core in range(config.cores)] if config.cores > 1 else [""]
    return {
        "host_ports": [f"{core}s_axi" for core in cores],
        "interrupts": [f"{core}irq" for core in cores],
        "memory_ports": [f"{core}{prefix(name)}" for core in cores for name in port_names(config)],
        "registers": [
            {
                "name": register.name,
                "offset": register.offset,
                "bits": register.bits,
                "access": register.access.value,
                "meaning": register.meaning,
                "flags": {flag.name: flag.value for flag in register.flags},
            }
            for register in REGISTERS.values()
        ],
        "docs": ["docs/core.md", "docs/control.md", "docs/isa.md", "docs/weight-format.md"],
    }


BLOCKS = {
    "sparse-chain": Block(
        SparseChainConfig,
        SparseChain,
        "a cascade of DSPs for N:M sparse and dense INT8 products, two per DSP",
        _contract_of_chain,
        hw.verify_chain.crosses,
        hw.verify_chain.random_cases,
        hw.verify_chain.coverage,
        hw.verify_chain.run_cases,
    ),
    "matrix-engine": Block(
        MatrixEngineConfig,
        MatrixEngine,
        "sparse chains with buffers, accumulators, group scales and requantisation",
        _contract_of_engine,
        hw.engine_cases.crosses,
        hw.engine_cases.random_cases,
        hw.engine_cases.coverage,
        hw.verify_engine.run_cases,
    ),
    "special-function-unit": Block(
        SpecialFunctionUnitConfig,
        SpecialFunctionUnit,
        "norms, softmax, activations, rotations and quantisation of vectors in streams",
        _contract_of_functions,
        hw.sfu_cases.crosses,
        hw.sfu_cases.random_cases,
        hw.sfu_cases.coverage,
        hw.verify_special_functions.run_cases,
    ),
    "core": Block(
        CoreConfig,
        Core,
        "runs a language model's programs from memory: engine, functions, loads and stores",
        _contract_of_core,
        hw.core_coverage.crosses,
        hw.core_coverage.random_cases,
        hw.core_coverage.coverage,
        hw.verify_core.run_cases,
        check=_check_core,
        about=_about_core,
        apart=APART,
        parts=PARTS,
    ),
    "accelerator": Block(
        CoreConfig,
        Accelerator,
        "several cores that give each other their strips, with a barrier",
        _contract_of_accelerator,
        hw.core_coverage.crosses,
        hw.core_coverage.random_cases,
        hw.core_coverage.coverage,
        hw.verify_core.run_cases,
        defaults={"cores": 2},
        check=_check_accelerator,
        about=_about_core,
        apart=APART,
        parts=PARTS,
    ),
    "bch": Block(
        BchConfig,
        BchCodec,
        "a flash channel's error correction: BCH encoder and decoder of chunks, CRC of pages",
        _contract_of_bch,
        storage_engine.bch_cases.crosses,
        storage_engine.bch_cases.random_cases,
        storage_engine.bch_cases.coverage,
        storage_engine.verify_bch.run_cases,
    ),
    "arg-top-k": Block(
        ArgTopKConfig,
        ArgTopK,
        "the indices of the k largest of many scores, at line rate whatever the scores",
        _contract_of_arg_top_k,
        storage_engine.arg_top_k_cases.crosses,
        storage_engine.arg_top_k_cases.random_cases,
        storage_engine.arg_top_k_cases.coverage,
        storage_engine.verify_arg_top_k.run_cases,
    ),
    "attention-slice": Block(
        DriveEngineConfig,
        AttentionSlice,
        "a flash channel's part of attention: scores, powers of 2 and sums of values",
        _contract_of_slice,
        lambda _: storage_engine.slice_cases.crosses(),
        storage_engine.slice_cases.random_cases,
        storage_engine.slice_cases.coverage,
        storage_engine.verify_attention_slice.run_cases,
    ),
    "attention-engine": Block(
        DriveEngineConfig,
        AttentionEngine,
        "a drive's attention: pages of all flash channels in, dense attention or SparF out",
        _contract_of_attention_engine,
        lambda _: storage_engine.attention_engine_trials.crosses(),
        storage_engine.attention_engine_trials.random_cases,
        storage_engine.attention_engine_trials.coverage,
        storage_engine.verify_attention_engine.run_cases,
        check=check_parts,
        apart=(
            *("page_front_end_", "attention_slice_", "channel_reader_"),
            *("query_unit_", "likelihood_unit_", "finisher_"),
        ),
        parts=_ENGINE_PARTS,
    ),
}
