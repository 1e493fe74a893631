// The attention kernel of one flash channel: scores, logits, powers of 2 in bins, sums of values;
// and the approximate scores of SparF's first step. It is golden/attention_engine.py with the sums
// of golden/attention_engine_sums.py, and has the jobs of storage_engine/attention_slice.py.
#ifndef NANDU_ATTENTION_SLICE_HPP
#define NANDU_ATTENTION_SLICE_HPP

#include "slice_config.hpp"
#include "special_functions.hpp"

namespace nandu {

static const int BINS = 4;
static const int BIN_OCTAVES = 8;
static const int LOWEST_BIN = -128;
static const int BANKS = 2;  // of approximate scores: an even span's, and an odd one's
static const int PAIRS = BANKS;  // the number under which pages of pairs are counted
static const int SPAN_WORDS = SPAN_TOKENS / LANES;
static const int LOGIT_SHIFT = 60;  // the largest
static const int DROPPED = 16 - PROBABILITY_BITS;

enum Kind { KEYS = 0, VALUES = 1, CHANNEL = 2, TAIL_KEYS = 3 };
enum Command { BEGIN = 0, SPAN = 1, PARTIAL = 2 };

typedef ap_int<SCORE_BITS> score_t;
typedef ap_int<ELEMENT_BITS> element_t;
typedef ap_uint<POWER_BITS> power_t;
typedef ap_uint<MASS_BITS> mass_t;
typedef ap_int<MIXED_BITS> mixed_t;
typedef ap_uint<2 + PAGE_COUNT_BITS + SPAN_BITS + SPAN_SIZE_BITS> command_payload_t;
typedef ap_uint<QUERIES * LANES * QUERY_BITS + QUERY_ROW_BITS + 2> query_payload_t;
typedef ap_uint<LANES * ELEMENT_BITS + 2 + ROW_BITS + TOKEN_BITS + CHANNEL_BITS + 1 + FIRST_BITS>
    element_payload_t;
typedef ap_uint<QUERIES * LANES * SCORE_BITS> approximate_payload_t;
typedef ap_uint<LANES * MIXED_BITS> partial_payload_t;

// A field that may have no bits, and is 0 then.
template <int N>
struct Number {
    template <int W>
    static int take(ap_uint<W>& payload) {
#pragma HLS INLINE
        return int(nandu::take<N>(payload));
    }
};

template <>
struct Number<0> {
    template <int W>
    static int take(ap_uint<W>&) {
        return 0;
    }
};

// What a token counts: its power, in the slot of its bin, whose sums it may begin.
struct Weight {
    power_t power;
    ap_uint<2> slot;
    bool starts;
};

// The bins of a query. Bin b lies in slot b mod 4; a slot that is not filled has no sums.
struct Bins {
    int top;
    bool filled[BINS];
    mass_t mass[BINS];
};

// A beat of elements.
struct Beat {
    element_t lane[LANES];
    int kind, row, token, channel, first;
    bool is_last;
};

struct Slice {
    ap_int<QUERY_BITS> queries[2][QUERIES][ROWS][LANES];  // the whole ones, and the masked ones
    score_t scores[QUERIES];                              // of the key that comes in
    score_t approximate[BANKS][QUERIES][SPAN_WORDS][LANES];
    Bins bins[QUERIES];
    Weight weights[GROUP_TOKENS][QUERIES];  // of a page, until its values come
    mixed_t mixed[QUERIES][BINS][ROWS][LANES];
    int weighed, used;  // tokens of the page
    int pages[BANKS + 1];
};

inline Beat unpack_beat(element_payload_t payload) {
#pragma HLS INLINE
    Beat beat;
    for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
        beat.lane[lane] = take_signed<ELEMENT_BITS>(payload);
    }
    beat.kind = int(take<2>(payload));
    beat.row = int(take<ROW_BITS>(payload));
    beat.token = Number<TOKEN_BITS>::take(payload);
    beat.channel = int(take<CHANNEL_BITS>(payload));
    beat.is_last = take<1>(payload) == 1;
    beat.first = int(take<FIRST_BITS>(payload));
    return beat;
}

// A score in units of 2^-16 octaves.
inline wide_t to_logit(score_t score, count_t value, int exponent) {
#pragma HLS INLINE
    int shift = -exponent;
    if (shift < 0) shift = 0;
    if (shift > LOGIT_SHIFT) shift = LOGIT_SHIFT;
    const ap_int<63> product = (long long)score * (long long)value;
    return saturate<27>(shift_round(product, shift_t(shift)));
}

// 2^logit in units of its bin; the bin is logit / 2^19.
inline power_t to_power(wide_t logit) {
#pragma HLS INLINE
    const int fraction = int(logit) & (ONE - 1);
    const int octave = int(logit) >> FACTOR_FRACTION;
    long long value = line<0>(EXP2_TABLE, ap_uint<28>(fraction));
    if (DROPPED > 0) {
        const long long most = (1LL << PROBABILITY_BITS) - 1;
        value = shift_round(ap_int<18>(value), shift_t(DROPPED));
        value = (value > most ? most : value) << DROPPED;
    }
    return power_t(value << (octave & (BIN_OCTAVES - 1)));
}

// Adds a token's power to its bin. When the bin is above the top, the lowest bins fall out.
inline Weight add_power(Bins& bins, power_t power, int bin) {
#pragma HLS INLINE
    const int rise = bin - bins.top;
    for (int up = 1; up <= BINS; ++up) {
#pragma HLS UNROLL
        if (up <= rise) bins.filled[(bins.top + up) & (BINS - 1)] = false;
    }
    if (rise > 0) bins.top = bin;
    const int slot = bin & (BINS - 1);
    Weight weight;
    weight.slot = slot;
    weight.power = 0;
    weight.starts = false;
    if (bin > bins.top - BINS) {
        weight.power = power;
        weight.starts = !bins.filled[slot];
        bins.mass[slot] = (weight.starts ? 0LL : (long long)bins.mass[slot]) + (long long)power;
        bins.filled[slot] = true;
    }
    return weight;
}

// Products of a key's row with all queries, whole or masked; behind the last row the scores stand.
inline void multiply_key(Slice& slice, const Beat& beat, int masked) {
#pragma HLS INLINE
    for (int query = 0; query < QUERIES; ++query) {
#pragma HLS UNROLL
        long long sum = 0;
        if (beat.row > 0) sum = slice.scores[query];
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            sum += slice.queries[masked][query][beat.row][lane] * beat.lane[lane];
        }
        slice.scores[query] = sum;
    }
}

inline void take_key(Slice& slice, const Beat& beat, count_t scale_value[QUERIES],
                     int scale_exponent[QUERIES]) {
#pragma HLS INLINE
    multiply_key(slice, beat, 0);
    if (beat.row != ROWS - 1) return;
    for (int query = 0; query < QUERIES; ++query) {
        const wide_t logit =
            to_logit(slice.scores[query], scale_value[query], scale_exponent[query]);
        const int bin = int(logit) >> (FACTOR_FRACTION + 3);
        slice.weights[slice.weighed][query] = add_power(slice.bins[query], to_power(logit), bin);
    }
    slice.weighed += 1;
}

inline void take_value(Slice& slice, const Beat& beat) {
#pragma HLS INLINE
    for (int query = 0; query < QUERIES; ++query) {
#pragma HLS UNROLL
        const Weight weight = slice.weights[slice.used][query];
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            mixed_t& mixed = slice.mixed[query][int(weight.slot)][beat.row][lane];
            mixed = (weight.starts ? 0LL : (long long)mixed) +
                    (long long)weight.power * (long long)beat.lane[lane];
        }
    }
    if (beat.row == ROWS - 1) slice.used += 1;
}

// Successive tokens of a channel: each score gets one more product.
inline void take_channel(Slice& slice, const Beat& beat) {
#pragma HLS INLINE
    const int bank = (beat.first / SPAN_TOKENS) & 1;
    for (int query = 0; query < QUERIES; ++query) {
#pragma HLS UNROLL
        const long long factor =
            slice.queries[1][query][beat.channel / LANES][beat.channel % LANES];
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            slice.approximate[bank][query][beat.row][lane] += factor * beat.lane[lane];
        }
    }
}

inline void take_tail(Slice& slice, const Beat& beat) {
#pragma HLS INLINE
    multiply_key(slice, beat, 1);
    if (beat.row != ROWS - 1) return;
    const int token = beat.first + beat.token;
    const int bank = (token / SPAN_TOKENS) & 1, place = token % SPAN_TOKENS;
    for (int query = 0; query < QUERIES; ++query) {
#pragma HLS UNROLL
        slice.approximate[bank][query][place / LANES][place % LANES] = slice.scores[query];
    }
}

// Takes beats until so many pages of a bank, or of pairs, have come; others are counted for later.
inline void take_pages(Slice& slice, int own, int pages, count_t scale_value[QUERIES],
                       int scale_exponent[QUERIES], hls::stream<element_payload_t>& i) {
    while (slice.pages[own] < pages) {
#pragma HLS PIPELINE II=1
        const Beat beat = unpack_beat(i.read());
        int counted = PAIRS;
        if (beat.kind == KEYS) take_key(slice, beat, scale_value, scale_exponent);
        if (beat.kind == VALUES) take_value(slice, beat);
        if (beat.kind == CHANNEL) {
            take_channel(slice, beat);
            counted = (beat.first / SPAN_TOKENS) & 1;
        }
        if (beat.kind == TAIL_KEYS) {
            take_tail(slice, beat);
            counted = ((beat.first + beat.token) / SPAN_TOKENS) & 1;
        }
        if (beat.is_last) {
            slice.weighed = 0;
            slice.used = 0;
            slice.pages[counted] += 1;
        }
    }
    slice.pages[own] -= pages;
}

// Forgets all sums, and takes the queries of a job, up to the last beat of them.
inline void begin(Slice& slice, hls::stream<query_payload_t>& i_query) {
    for (int word = 0; word < SPAN_WORDS; ++word) {
#pragma HLS PIPELINE II=1
        for (int n = 0; n < BANKS * QUERIES * LANES; ++n) {
#pragma HLS UNROLL
            slice.approximate[n % BANKS][n / BANKS % QUERIES][word][n / BANKS / QUERIES] = 0;
        }
    }
    for (int query = 0; query < QUERIES; ++query) {
        slice.bins[query].top = LOWEST_BIN;
        for (int slot = 0; slot < BINS; ++slot) {
#pragma HLS UNROLL
            slice.bins[query].filled[slot] = false;
        }
    }
    slice.weighed = 0;
    slice.used = 0;
    for (int own = 0; own <= PAIRS; ++own) slice.pages[own] = 0;
    bool is_last = false;
    while (!is_last) {
#pragma HLS PIPELINE II=1
        query_payload_t payload = i_query.read();
        ap_int<QUERY_BITS> row[QUERIES][LANES];
        for (int n = 0; n < QUERIES * LANES; ++n) {
#pragma HLS UNROLL
            row[n / LANES][n % LANES] = take_signed<QUERY_BITS>(payload);
        }
        const int at = int(take<QUERY_ROW_BITS>(payload));
        const int masked = int(take<1>(payload));
        is_last = take<1>(payload) == 1;
        for (int n = 0; n < QUERIES * LANES; ++n) {
#pragma HLS UNROLL
            slice.queries[masked][n / LANES][at][n % LANES] = row[n / LANES][n % LANES];
        }
    }
}

// Gives the approximate scores of a span's first tokens, and clears them all.
inline void give_span(Slice& slice, int bank, int tokens,
                      hls::stream<approximate_payload_t>& o_approximate) {
    for (int word = 0; word < SPAN_WORDS; ++word) {
#pragma HLS PIPELINE II=1
        approximate_payload_t payload = 0;
        for (int n = 0; n < QUERIES * LANES; ++n) {
#pragma HLS UNROLL
            score_t& score = slice.approximate[bank][n / LANES][word][n % LANES];
            put<SCORE_BITS>(payload, n * SCORE_BITS, (long long)score);
            score = 0;
        }
        if (word * LANES < tokens) o_approximate.write(payload);
    }
}

// Gives a job's sums: of each query the top, masses, and rows of sums, from the lowest bin on.
inline void give_partial(Slice& slice, hls::stream<partial_payload_t>& o_partial) {
    for (int query = 0; query < QUERIES; ++query) {
        const Bins& bins = slice.bins[query];
        for (int beat = 0; beat < 1 + BINS + BINS * ROWS; ++beat) {
#pragma HLS PIPELINE II=1
            const int row = (beat - 1 - BINS) / BINS;
            const int slot = (bins.top - (BINS - 1) + (beat + BINS - 1) % BINS) & (BINS - 1);
            partial_payload_t payload = 0;
            if (beat == 0) {
                put<MIXED_BITS>(payload, 0, bins.top);
            } else if (bins.filled[slot] && beat <= BINS) {
                put<MIXED_BITS>(payload, 0, (long long)bins.mass[slot]);
            } else if (bins.filled[slot]) {
                for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
                    put<MIXED_BITS>(payload, lane * MIXED_BITS,
                                    (long long)slice.mixed[query][slot][row][lane]);
                }
            }
            o_partial.write(payload);
        }
    }
}

}  // namespace nandu

#endif
