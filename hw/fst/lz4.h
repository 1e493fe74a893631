// The two functions of LZ4 that Verilator's FST writer calls, for machines without the LZ4 headers.
// Writes the LZ4 block format: sequences of a token, literals, and a match of at least 4 bytes.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

inline int LZ4_compress_default(const char* source, char* target, int size, int /*capacity*/) {
    const auto* const in = reinterpret_cast<const std::uint8_t*>(source);
    auto* const out = reinterpret_cast<std::uint8_t*>(target);
    int written = 0;
    const auto write_length = [&](int rest) {  // the part of a length that its nibble cannot hold
        for (; rest >= 255; rest -= 255) out[written++] = 255;
        out[written++] = static_cast<std::uint8_t>(rest);
    };
    const auto write_sequence = [&](int from, int to, int offset, int match) {
        const int literals = to - from;
        const int extra = match - 4;  // a match is at least 4 long; none is written when it is 0
        const int high = literals < 15 ? literals : 15;
        const int low = match == 0 ? 0 : extra < 15 ? extra : 15;
        out[written++] = static_cast<std::uint8_t>(high << 4 | low);
        if (high == 15) write_length(literals - 15);
        std::memcpy(out + written, in + from, literals);
        written += literals;
        if (match == 0) return;
        out[written++] = static_cast<std::uint8_t>(offset & 255);
        out[written++] = static_cast<std::uint8_t>(offset >> 8);
        if (low == 15) write_length(extra - 15);
    };
    std::vector<int> last_place(1 << 14, -1);  // of four bytes, by their hash
    int begin = 0;                             // of the literals that are not yet written
    for (int at = 0; at + 12 < size;) {        // the format: no match in the last 12 bytes ...
        std::uint32_t four;
        std::memcpy(&four, in + at, 4);
        int& place = last_place[four * 2654435761u >> 18];
        const int before = place;
        place = at;
        if (before < 0 || at - before > 65535 || std::memcmp(in + before, in + at, 4) != 0) {
            ++at;
            continue;
        }
        int match = 4;  // ... and the last 5 are literals
        while (at + match + 5 < size && in[before + match] == in[at + match]) ++match;
        write_sequence(begin, at, at - before, match);
        at += match;
        begin = at;
    }
    write_sequence(begin, size, 0, 0);
    return written;
}
