// Special functions of whole vectors, an element per cycle: the parts of a decoder layer.
//
// Each is a function of golden/special_functions/functions.py or golden/transformer.py.
#ifndef NANDU_VECTOR_FUNCTIONS_HPP
#define NANDU_VECTOR_FUNCTIONS_HPP

#include "decode_attention.hpp"
#include "layer_config.hpp"

namespace nandu {

static const int NORM_SHIFT = -22;
static const int CACHE_SHIFT = 12;

inline wide_t read_wide(hls::stream<slot_t>& stream) {
#pragma HLS INLINE
    slot_t slot = stream.read();
    return wide_t((long long)take_signed<32>(slot));
}

inline void write_wide(hls::stream<slot_t>& stream, wide_t value) {
#pragma HLS INLINE
    slot_t slot = 0;
    put<32>(slot, 0, (long long)value);
    stream.write(slot);
}

// The largest |element| so far.
inline ap_int<28> larger(ap_int<28> largest, wide_t value) {
#pragma HLS INLINE
    ap_int<28> size = value;
    if (value < 0) size = -value;
    if (size > largest) largest = size;
    return largest;
}

// Writes a vector as INT8, and first what 127 of it is worth.
template <int SIZE>
void quantise_held(const wide_t held[SIZE], ap_int<28> largest, hls::stream<byte_t>& bytes,
                   hls::stream<scalar_payload_t>& scales) {
#pragma HLS INLINE
    const Scalar magnitude = exact((long long)largest);
    const Scalar multiplier = quantiser(magnitude);
    scales.write(pack_scalar(normalise(magnitude)));
    for (int i = 0; i < SIZE; ++i) {
#pragma HLS PIPELINE II=1
        bytes.write(to_byte(multiply_scalar(held[i], multiplier, 0)));
    }
}

// INT8 with a scale for each of COUNT vectors.
template <int COUNT, int SIZE>
void quantise_vectors(hls::stream<slot_t>& x, hls::stream<byte_t>& bytes,
                      hls::stream<scalar_payload_t>& scales) {
    for (int number = 0; number < COUNT; ++number) {
        wide_t held[SIZE];
        ap_int<28> largest = 0;
        for (int i = 0; i < SIZE; ++i) {
#pragma HLS PIPELINE II=1
            held[i] = read_wide(x);
            largest = larger(largest, held[i]);
        }
        quantise_held<SIZE>(held, largest, bytes, scales);
    }
}

// RMSNorm and quantisation; x itself goes on to the residual connection.
inline void norm_and_quantise(hls::stream<slot_t>& x, const slot_t* gamma, long long epsilon,
                              hls::stream<slot_t>& residual, hls::stream<byte_t>& bytes,
                              hls::stream<scalar_payload_t>& scales) {
    wide_t held[HIDDEN];
    ap_int<28> largest = 0;
    for (int i = 0; i < HIDDEN; ++i) {
#pragma HLS PIPELINE II=1
        held[i] = read_wide(x);
        write_wide(residual, held[i]);
        largest = larger(largest, held[i]);
    }
    const int shift = int(clamp_shift(int(normalise(exact((long long)largest)).exponent)));
    Scalar squares = exact(0);
    for (int i = 0; i < HIDDEN; ++i) {
#pragma HLS PIPELINE II=1
        const factor_t small = to_factor(combine(held[i], 1, shift_t(shift)));
        squares.value += small * small;
    }
    squares.exponent = 2 * shift;
    const Scalar root = inverse_root(squares, exact(epsilon));
    largest = 0;
    for (int i = 0; i < HIDDEN; ++i) {
#pragma HLS PIPELINE II=1
        slot_t factor = gamma[i];
        const wide_t gain = (long long)take_signed<32>(factor);
        held[i] = scale(multiply_scalar(held[i], root, NORM_SHIFT), to_factor(gain));
        largest = larger(largest, held[i]);
    }
    quantise_held<HIDDEN>(held, largest, bytes, scales);
}

// The same INT8 vector for several linear layers.
template <int COPIES>
void copy_bytes(hls::stream<byte_t>& bytes, hls::stream<scalar_payload_t>& scales,
                hls::stream<byte_t> copies[COPIES],
                hls::stream<scalar_payload_t> scale_copies[COPIES]) {
    const scalar_payload_t scale = scales.read();
    for (int copy = 0; copy < COPIES; ++copy) {
#pragma HLS UNROLL
        scale_copies[copy].write(scale);
    }
    for (int i = 0; i < HIDDEN; ++i) {
#pragma HLS PIPELINE II=1
        const byte_t byte = bytes.read();
        for (int copy = 0; copy < COPIES; ++copy) {
#pragma HLS UNROLL
            copies[copy].write(byte);
        }
    }
}

// Rotates each pair of elements of COUNT heads; the table has cos and sin of each pair.
template <int COUNT>
void rotate(hls::stream<slot_t>& x, const slot_t* table, hls::stream<slot_t>& rotated) {
    factor_t factors[HEAD_SIZE];
    for (int i = 0; i < HEAD_SIZE; ++i) {
#pragma HLS PIPELINE II=1
        slot_t factor = table[i];
        factors[i] = to_factor(wide_t((long long)take_signed<32>(factor)));
    }
    for (int pair = 0; pair < COUNT * HEAD_SIZE / 2; ++pair) {
#pragma HLS PIPELINE II=2
        const int place = 2 * pair % HEAD_SIZE;
        const factor_t cosine = factors[place], sine = factors[place + 1];
        const wide_t even = read_wide(x), odd = read_wide(x);
        const shift_t shift = FACTOR_FRACTION;
        write_wide(rotated, combine(even, cosine, shift, odd, factor_t(-sine)));
        write_wide(rotated, combine(odd, cosine, shift, even, sine));
    }
}

// Keys or values as the cache has them.
inline void quantise_for_cache(hls::stream<slot_t>& x, hls::stream<byte_t>& bytes) {
    for (int i = 0; i < KV_HEADS * HEAD_SIZE; ++i) {
#pragma HLS PIPELINE II=1
        bytes.write(to_byte(combine(read_wide(x), 1, shift_t(CACHE_SHIFT))));
    }
}

// Elements as words of a head each.
template <int COUNT>
void gather_heads(hls::stream<byte_t>& bytes, hls::stream<head_word_t>& heads) {
    for (int head = 0; head < COUNT; ++head) {
        head_word_t word = 0;
        for (int i = 0; i < HEAD_SIZE; ++i) {
#pragma HLS PIPELINE II=1
            put<8>(word, 8 * i, (long long)bytes.read());
        }
        heads.write(word);
    }
}

// (x * first + y * second) / 2^shift.
inline void add_residual(hls::stream<slot_t>& x, hls::stream<slot_t>& y, int first, int second,
                         int shift, hls::stream<slot_t>& sum) {
    for (int i = 0; i < HIDDEN; ++i) {
#pragma HLS PIPELINE II=1
        const wide_t a = read_wide(x), b = read_wide(y);
        write_wide(sum, combine(a, factor_t(first), clamp_shift(shift), b, factor_t(second)));
    }
}

// silu(gate) * up; a negative shift is one to the left.
inline void gated_product(hls::stream<slot_t>& gate, hls::stream<slot_t>& up, int gate_shift,
                          int product_first, hls::stream<slot_t>& gated) {
    const factor_t first = gate_shift < 0 ? 1 << -gate_shift : 1;
    for (int i = 0; i < FEED_FORWARD; ++i) {
#pragma HLS PIPELINE II=1
        const wide_t u = combine(read_wide(gate), first, clamp_shift(gate_shift));
        const wide_t activated = scale(u, sigmoid(u));
        const wide_t raised = combine(activated, factor_t(product_first), shift_t(0));
        write_wide(gated, scale(raised, to_factor(read_wide(up))));
    }
}

}  // namespace nandu

#endif
