"""Cases of the codec's leaf blocks, and what judges their traces: "" or what is wrong."""

from functools import partial

import numpy as np

from golden.bch import bch_code
from golden.bit_packing import pack_fields
from golden.galois_field import galois_field
from golden.page_crc import CRC_BITS, POLYNOMIAL, store_page
from hw.player import Case, random_pauses
from storage_engine.bch_chien import BchChien, middle, start
from storage_engine.bch_encoder import BchEncoder
from storage_engine.bch_key_equation import BchKeyEquation
from storage_engine.bch_syndromes import BchSyndromes
from storage_engine.page_crc import PageCrcWriter

PAUSES = ((), ("i",), ("o",), ("i", "o"))


def words_of(config, chunks):
    return np.ascontiguousarray(chunks).reshape(-1, config.word_bytes)


def wrong_chunks(config, random, count):
    """Return chunks with 0 to t + 2 wrong bits, noise in their padding."""
    messages = random.integers(0, 256, (count, config.message_bytes), dtype=np.uint8)
    messages[1::5], messages[2::5] = 0, 255
    chunks = bch_code(config).encode(messages)
    bits = config.message_bits + config.parity_bits
    for number, chunk in enumerate(chunks):
        errors = random.choice(
            bits, size=(number * 5 + number // 3) % (config.t + 3), replace=False
        )
        padding = np.flatnonzero(random.random(config.padding_bits) < 0.5) + bits
        for bit in (*errors, *padding):
            chunk[bit // 8] ^= 1 << bit % 8
    return chunks


def with_pauses(inputs, outputs, wrong, *, random, contract):
    """Yield a case with each choice of pauses, half of them broken off once by a reset.

    Args:
        wrong: of a trace's outputs: what differs, or "".
        contract: cycles from the first payload taken to the last one given.
    """
    counts = {"i": len(inputs["i"]), "o": outputs["o"]}
    for number, paused in enumerate(PAUSES):
        pauses = random_pauses(random, {name: counts[name] for name in paused}, share=0.4)
        reset_after = int(random.integers(5, contract // 2)) if number % 2 else 0
        case = Case(inputs, outputs, pauses, reset_after=reset_after)
        yield case, partial(judge, wrong, None if paused else contract)


def judge(wrong, contract, trace):
    """Return what is wrong with the payloads, or with the cycles if there is a contract."""
    found = wrong(trace)
    if found:
        return found
    cycles = trace.transfers("o")[-1] + 1 - np.argmax(trace.valid["i"])
    return "" if contract in (None, cycles) else f"{cycles} cycles instead of {contract}"


def differs(expected):
    """Return what compares a trace's outputs with payloads."""
    return lambda trace: "" if np.array_equal(trace.outputs["o"], expected) else "other payloads"


def encoder_trials(config, chunks=12, seed=0):
    random = np.random.default_rng(seed)
    messages = random.integers(0, 256, (chunks, config.message_bytes), dtype=np.uint8)
    messages[1::4], messages[2::4] = 0, 255
    expected = words_of(config, bch_code(config).encode(messages))
    yield from with_pauses(
        {"i": words_of(config, messages)},
        {"o": len(expected)},
        differs(expected),
        random=random,
        contract=BchEncoder.cycles(config, chunks),
    )


def syndromes_of(config, chunks):
    """Return the odd syndromes as the hardware counts its powers: from the last bit of padding."""
    code, field = bch_code(config), galois_field(config.m)
    encoded = code.encode(chunks[:, : config.message_bytes])[:, config.message_bytes :]
    mask = code.encode(np.zeros((1, config.message_bytes), np.uint8))[:, config.message_bytes :]
    bits = np.arange(8 * mask.shape[1]) < config.parity_bits
    mask = np.packbits(bits, bitorder="little")
    syndromes = code.syndromes((encoded ^ chunks[:, config.message_bytes :]) & mask)
    powers = [field.power(j * config.padding_bits) for j in range(1, 2 * config.t, 2)]
    return field.multiply(syndromes, np.array(powers))


def syndromes_trials(config, chunks=12, seed=1):
    random = np.random.default_rng(seed)
    wrong = wrong_chunks(config, random, chunks)
    expected = pack_fields((syndromes_of(config, wrong), config.m))
    yield from with_pauses(
        {"i": words_of(config, wrong)},
        {"o": chunks},
        differs(expected),
        random=random,
        contract=BchSyndromes.cycles(config, chunks),
    )


def locators_of(config, syndromes):
    """Return coefficients as the hardware gives them, int64 [chunks, t + 1], and their errors."""
    field = galois_field(config.m)
    located = bch_code(config).locate(syndromes)
    powers = [field.power(start(config) * (i - middle(config))) for i in range(config.t + 1)]
    return field.multiply(located.coefficients, np.array(powers)), located.errors


def key_trials(config, chunks=40, seed=2):
    """Random syndromes are those of too many errors, as a rule."""
    random = np.random.default_rng(seed)
    syndromes = syndromes_of(config, wrong_chunks(config, random, chunks))
    syndromes[::6] = random.integers(0, 2**config.m, syndromes[::6].shape)
    syndromes[3::8, 0] = 0
    dirty = syndromes.any(axis=1)
    coefficients, errors = locators_of(config, syndromes)
    search, failed = dirty & (errors <= config.t), dirty & (errors > config.t)

    def wrong(trace):
        bits = np.unpackbits(trace.outputs["o"], axis=1, bitorder="little").astype(np.int64)
        size, width = config.m * (config.t + 1), config.t.bit_length()
        if len(bits) != chunks:
            return "another number of locators"
        powers = 1 << np.arange(config.m)
        given = bits[:, :size].reshape(chunks, config.t + 1, config.m) @ powers
        found = bits[:, size : size + width] @ (1 << np.arange(width))
        if (bits[:, size + width] != search).any() or (bits[:, size + width + 1] != failed).any():
            return "other flags"
        if (found != errors)[~failed].any():
            return "other errors"
        return "other coefficients" if (given != coefficients)[search].any() else ""

    contract = 1 + sum(BchKeyEquation.cycles(config, clean=not each) for each in dirty)
    yield from with_pauses(
        {"i": pack_fields((syndromes, config.m))},
        {"o": chunks},
        wrong,
        random=random,
        contract=contract,
    )


def search_trials(config, chunks=24, seed=3):
    random = np.random.default_rng(seed)
    received = wrong_chunks(config, random, chunks)
    syndromes = syndromes_of(config, received)
    coefficients, errors = locators_of(config, syndromes)
    failed = errors > config.t
    search = syndromes.any(axis=1) & ~failed
    payloads = pack_fields(
        (coefficients, config.m),
        (np.where(failed, 0, errors)[:, None], config.t.bit_length()),
        (search[:, None], 1),
        (failed[:, None], 1),
    )
    expected = found_words(config, received)
    yield from with_pauses(
        {"i": payloads},
        {"o": len(expected)},
        lambda trace: wrong_words(config, trace.outputs["o"], expected),
        random=random,
        contract=BchChien.cycles(config, search),
    )


def found_words(config, received):
    """Return [words, 4 + word bits]: wrong bits, is_parity, last, corrected, uncorrectable."""
    code = bch_code(config)
    decoded = code.decode(received)
    # The wrong bits of the parity are those that encoding the message again shows.
    wrong = code.encode(decoded.message) ^ received
    bits = np.unpackbits(wrong, axis=1, bitorder="little").astype(np.int64)
    bits[:, config.message_bits + config.parity_bits :] = 0
    words = bits.reshape(-1, config.word_bits)
    number = np.arange(len(words)) % config.chunk_words
    about = [
        number >= config.message_words,
        number == config.chunk_words - 1,
        np.repeat(decoded.corrected, config.chunk_words),
        np.repeat(decoded.uncorrectable, config.chunk_words),
    ]
    return np.concatenate([words, np.stack(about, axis=1)], axis=1)


def wrong_words(config, payloads, expected):
    """Return what differs; the status counts with the last word, the bits where it is right."""
    size, width = config.word_bits, config.t.bit_length()
    bits = np.unpackbits(payloads, axis=1, bitorder="little").astype(np.int64)
    if len(bits) != len(expected):
        return "another number of words"
    parity, last, corrected, lost = expected[:, size:].T
    is_last = last.astype(bool)
    given = bits[:, size + 2 : size + 2 + width] @ (1 << np.arange(width))
    if (bits[:, size] != parity).any() or (bits[:, size + 1] != last).any():
        return "other marks"
    if (given != corrected)[is_last].any() or (bits[:, size + 2 + width] != lost)[is_last].any():
        return "another status"
    # Of an uncorrectable chunk golden gives only the message's wrong bits.
    compared = (lost == 0) | (parity == 0)
    return "other bits" if (bits[:, :size] != expected[:, :size])[compared].any() else ""


def writer_trials(config, pages=5, seed=4):
    random = np.random.default_rng(seed)
    words = random.integers(0, 256, (pages, config.chunks, config.message_bytes), dtype=np.uint8)
    words[1], words[2] = 0, 255
    data, tags = np.split(words, [config.data_bytes], axis=-1)
    owner = tags.reshape(pages, -1)[:, : config.owner_bytes]
    stored = store_page(config, data.reshape(pages, -1), owner)
    stored = stored.reshape(pages, config.chunks, config.chunk_bytes)
    expected = words_of(config, stored[..., : config.message_bytes])
    yield from with_pauses(
        {"i": words_of(config, words)},
        {"o": len(expected)},
        differs(expected),
        random=random,
        contract=PageCrcWriter.cycles(config, pages),
    )


def checker_trials(config, pages=12 + CRC_BITS, seed=5):
    """What is given beside a word is what was known of the page before it.

    In the last pages each bit of the register alone is wrong in the end.
    """
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, (pages, config.page_bytes), dtype=np.uint8)
    data[1], data[2] = 0, 255
    owner = random.integers(0, 256, (pages, config.owner_bytes), dtype=np.uint8)
    stored = store_page(config, data, owner).reshape(pages, config.chunks, config.chunk_bytes)
    words = stored[..., : config.message_bytes].reshape(pages, -1).copy()
    wrong = (np.arange(pages) % 3 == 1) & (np.arange(pages) < pages - CRC_BITS)
    for page in np.flatnonzero(wrong):
        bit = random.integers(8 * words.shape[1])
        words[page, bit // 8] ^= 1 << bit % 8
    for bit, page in enumerate(words[-CRC_BITS:]):
        page[-4:] ^= difference_of(1 << bit)
    wrong[-CRC_BITS:] = True
    given = words_of(config, words)
    ended = np.zeros(len(given), np.int64)
    ended[config.page_words :: config.page_words] = 1
    was_wrong = ended.copy()
    was_wrong[config.page_words :: config.page_words] = wrong[:-1]
    expected = np.concatenate([given, (ended | was_wrong << 1)[:, None].astype(np.uint8)], axis=1)
    yield from with_pauses(
        {"i": given},
        {"o": len(expected)},
        differs(expected),
        random=random,
        contract=pages * config.page_words,
    )


def difference_of(register):
    """Return which bits of a page's last four bytes change only those bits of the register."""
    for _ in range(CRC_BITS):  # backwards
        fed_back = POLYNOMIAL if register >> 31 else 0
        register = (register ^ fed_back) << 1 | (register >> 31)
    return np.frombuffer(register.to_bytes(4, "little"), np.uint8)


def buffer_trials(width, depth, seed=6):
    random = np.random.default_rng(seed)
    words = random.integers(0, 256, (20 * depth, width // 8), dtype=np.uint8)
    long_stall = np.arange(3 * depth) > depth // 2  # until it is full
    case = Case({"i": words}, {"o": len(words)}, {"o": long_stall})
    yield case, partial(buffer_wrong, words, depth)
    for case, _ in with_pauses(
        {"i": words}, {"o": len(words)}, None, random=random, contract=10 * depth
    ):
        yield case, partial(buffer_wrong, words, depth)


def buffer_wrong(words, depth, trace):
    """Return which handshake differs from a queue's whose words wait two cycles, or ""."""
    if not np.array_equal(trace.outputs["o"], words):
        return "other words"
    level, offers = 0, False
    pins = zip(trace.valid["i"], trace.ready["i"], trace.valid["o"], trace.ready["o"], strict=True)
    for valid, ready, offered, taken in pins:
        if ready != (level < depth):
            return "i is ready in other cycles"
        if offered != offers:
            return "o is valid in other cycles"
        reads = level > 0 and (not offers or taken)
        offers = reads or (offers and not taken)
        level += int(valid and ready) - reads
    return ""
