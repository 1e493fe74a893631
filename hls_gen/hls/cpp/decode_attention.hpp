// Attention of one new token over the INT8 cache, for all its heads: `attend` of
// golden/transformer.py.
//
// Query heads that share a key head are worked on together, so each cached key and value is read
// once. The first part gives the scores, the second one, a head later, what is made of them.
#ifndef NANDU_DECODE_ATTENTION_HPP
#define NANDU_DECODE_ATTENTION_HPP

#include "attention_config.hpp"
#include "special_functions.hpp"

namespace nandu {

static const int SHARE = HEADS / KV_HEADS;
static const int EXP_FACTOR = 94548;  // log2(e) * 2^16

typedef ap_uint<8 * HEAD_SIZE> head_word_t;  // a head's INT8 query, key or value
typedef ap_uint<61> scalar_payload_t;        // a value of 52 bits, and an exponent of 9
typedef ap_uint<32> slot_t;                  // a wide element

struct Scores {
    wide_t head[SHARE];
};

inline Scalar unpack_scalar(scalar_payload_t payload) {
#pragma HLS INLINE
    Scalar scalar;
    scalar.value = (long long)take_signed<52>(payload);
    scalar.exponent = (long long)take_signed<9>(payload);
    return scalar;
}

inline scalar_payload_t pack_scalar(Scalar scalar) {
#pragma HLS INLINE
    scalar_payload_t payload = 0;
    put<52>(payload, 0, (long long)scalar.value);
    put<9>(payload, 52, (long long)scalar.exponent);
    return payload;
}

// x times a scalar / 2^shift.
inline wide_t multiply_scalar(wide_t x, Scalar by, int shift) {
#pragma HLS INLINE
    return combine(x, factor_t((long long)by.value), clamp_shift(shift - int(by.exponent)));
}

inline wide_t dot_product(head_word_t one, head_word_t other) {
#pragma HLS INLINE
    ap_int<40> sum = 0;
    for (int i = 0; i < HEAD_SIZE; ++i) {
#pragma HLS UNROLL
        sum += take_signed<8>(one) * take_signed<8>(other);
    }
    return saturate<27>(sum);
}

// Queries times keys, of the cache and the new one, which goes to the cache as well.
inline void score_keys(count_t position, int score_shift, hls::stream<head_word_t>& i_query,
                       hls::stream<scalar_payload_t>& i_scale, hls::stream<head_word_t>& i_key,
                       head_word_t* keys, hls::stream<Scores>& scores,
                       hls::stream<Scores>& maxima) {
    for (int kv_head = 0; kv_head < KV_HEADS; ++kv_head) {
        head_word_t queries[SHARE];
        Scalar scales[SHARE];
        Scores most;
        for (int i = 0; i < SHARE; ++i) {
            queries[i] = i_query.read();
            scales[i] = unpack_scalar(i_scale.read());
            most.head[i] = -(1LL << 26);
        }
        const head_word_t own = i_key.read();
        for (count_t at = 0; at <= position; at = at + 1) {
#pragma HLS PIPELINE II=1
            head_word_t key = own;
            if (at < position) key = keys[int(at) * KV_HEADS + kv_head];
            Scores found;
            for (int i = 0; i < SHARE; ++i) {
#pragma HLS UNROLL
                found.head[i] = multiply_scalar(dot_product(queries[i], key), scales[i],
                                                score_shift);
                if (found.head[i] > most.head[i]) most.head[i] = found.head[i];
            }
            scores.write(found);
        }
        keys[int(position) * KV_HEADS + kv_head] = own;
        maxima.write(most);
    }
}

// Sums of values times probabilities: of INT8 ones, or of both halves of those of 14 bits.
struct Mixture {
    ap_int<40> high[HEAD_SIZE], low[HEAD_SIZE];
    sum_t_52 total;
};

inline void mix_value(Mixture& mixture, wide_t probability, head_word_t value, bool first) {
#pragma HLS INLINE
    byte_t high = to_byte(probability), low = 0;
    if (PROBABILITY_BITS == 14) {
        high = half(probability, true);
        low = half(probability, false);
    }
    if (first) mixture.total = 0;
    mixture.total += probability;
    for (int i = 0; i < HEAD_SIZE; ++i) {
#pragma HLS UNROLL
        const byte_t element = take_signed<8>(value);
        if (first) {
            mixture.high[i] = 0;
            mixture.low[i] = 0;
        }
        mixture.high[i] += high * element;
        mixture.low[i] += low * element;
    }
}

inline void mix_values(count_t position, int score_fraction, int sum_shift, int output_shift,
                       hls::stream<head_word_t>& i_value, head_word_t* values,
                       hls::stream<Scores>& scores, hls::stream<Scores>& maxima,
                       hls::stream<slot_t>& o) {
    for (int kv_head = 0; kv_head < KV_HEADS; ++kv_head) {
        Mixture mixtures[SHARE];
        const Scores most = maxima.read();
        const head_word_t own = i_value.read();
        for (count_t at = 0; at <= position; at = at + 1) {
#pragma HLS PIPELINE II=1
            head_word_t value = own;
            if (at < position) value = values[int(at) * KV_HEADS + kv_head];
            const Scores given = scores.read();
            for (int i = 0; i < SHARE; ++i) {
#pragma HLS UNROLL
                const wide_t u = combine(given.head[i], EXP_FACTOR, clamp_shift(score_fraction),
                                         most.head[i], -EXP_FACTOR);
                mix_value(mixtures[i], exp2(u, PROBABILITY_BITS), value, at == 0);
            }
        }
        values[int(position) * KV_HEADS + kv_head] = own;
        for (int i = 0; i < SHARE; ++i) {
            const Scalar share = reciprocal(exact((long long)mixtures[i].total));
            for (int element = 0; element < HEAD_SIZE; ++element) {
#pragma HLS PIPELINE II=1
                wide_t mixed = saturate<27>(mixtures[i].high[element]);
                if (PROBABILITY_BITS == 14) {
                    mixed = combine(mixed, 1 << 7, clamp_shift(sum_shift),
                                    saturate<27>(mixtures[i].low[element]), 1);
                }
                o.write(slot_t((long long)multiply_scalar(mixed, share, output_shift)));
            }
        }
    }
}

inline void attend(count_t position, int score_shift, int score_fraction, int sum_shift,
                   int output_shift, hls::stream<head_word_t>& i_query,
                   hls::stream<scalar_payload_t>& i_scale, hls::stream<head_word_t>& i_key,
                   hls::stream<head_word_t>& i_value, head_word_t* keys, head_word_t* values,
                   hls::stream<slot_t>& o) {
#pragma HLS DATAFLOW
    hls::stream<Scores> scores("scores");
// All scores of a head wait for their maximum.
#pragma HLS STREAM variable=scores depth=MAX_POSITIONS
    hls::stream<Scores> maxima("maxima");
    score_keys(position, score_shift, i_query, i_scale, i_key, keys, scores, maxima);
    mix_values(position, score_fraction, sum_shift, output_shift, i_value, values, scores, maxima,
               o);
}

}  // namespace nandu

#endif
