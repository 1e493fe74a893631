// From the sums of all flash channels to a job's outputs in FP16, with SparF's compensation:
// `outputs` of golden/attention_engine.py and `to_half` of golden/attention_engine_formats.py.
#ifndef NANDU_FINISHER_HPP
#define NANDU_FINISHER_HPP

#include "finisher_config.hpp"
#include "special_functions.hpp"

namespace nandu {

static const int BINS = 4;
static const int BIN_OCTAVES = 8;
static const int ROOM = 11 - ELEMENT_BITS;  // a mixture is shifted by it to have 27 bits
static const int DIVIDE_SHIFT = 18;
static const int UNIT = 15;  // 2^15 is the power of a logit of 0
static const int LEAST_HALF = -24;  // 2^-24 is the least FP16 number
static const int MOST_HALF = 0x7BFF;

typedef ap_int<63> long_t;
typedef ap_uint<1 + FRACTION_BITS + TOKENS_BITS> job_payload_t;
typedef ap_uint<LANES * VALUE_SUM_BITS> value_sum_payload_t;
typedef ap_uint<MASS_BITS> mass_payload_t;
typedef ap_uint<LANES * MIXED_BITS> partial_payload_t;
typedef ap_uint<LANES * 16> half_payload_t;

// One number for four bins, the lowest first, in the highest one's units.
inline long_t collapse(const long_t bins[BINS]) {
#pragma HLS INLINE
    long_t total = bins[0];
    for (int bin = 1; bin < BINS; ++bin) {
#pragma HLS UNROLL
        total = shift_round(total, shift_t(BIN_OCTAVES)) + bins[bin];
    }
    return total;
}

// A reciprocal, and by how much a number is brought down to its 16 bits.
struct Share {
    long long value;
    int down;
};

inline Share invert(long_t mass) {
    const Scalar found = reciprocal(exact((long long)mass));
    Share share;
    share.value = (long long)found.value;
    share.down = -31 - int(found.exponent);
    if (share.down < 0) share.down = 0;
    return share;
}

inline wide_t divide_by(long_t mixed, Share share) {
#pragma HLS INLINE
    const long_t raised = mixed << (ROOM > 0 ? ROOM : 0);
    const wide_t wide =
        saturate<27>(shift_round(raised, shift_t(share.down + (ROOM < 0 ? -ROOM : 0))));
    const long_t product = (long long)wide * share.value;
    return saturate<27>(shift_round(product, shift_t(DIVIDE_SHIFT)));
}

// value * 2^-fraction as FP16, rounded once, half to even; beyond the range its largest number.
inline ap_uint<16> to_half(wide_t value, int fraction) {
#pragma HLS INLINE
    long long magnitude = (long long)value;
    if (magnitude < 0) magnitude = -magnitude;
    const int exponent = 51 - leading_zeros(ap_uint<52>(magnitude)) - fraction;
    const int unit = exponent - 10 < LEAST_HALF ? LEAST_HALF : exponent - 10;
    const int shift = unit + fraction;
    long long bits = 0;
    if (shift <= 0) bits = magnitude << -shift;
    else if (shift < 30) bits = shift_round(ap_int<63>(magnitude), shift_t(shift));
    // A significand that is rounded up to the next power of 2 carries into the exponent.
    bits += (long long)(unit - LEAST_HALF) << 10;
    if (bits > MOST_HALF) bits = MOST_HALF;
    if (magnitude == 0) bits = 0;
    if (value < 0) bits += 1 << 15;
    return ap_uint<16>(bits);
}

// Adds the same bins of all channels, each in its place below the highest top.
inline void add_bins(hls::stream<partial_payload_t> i_partial[FLASH_CHANNELS],
                     const int below[FLASH_CHANNELS], long_t sums[LANES][BINS]) {
#pragma HLS INLINE
    for (int bin = 0; bin < BINS; ++bin) {
#pragma HLS UNROLL
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            sums[lane][bin] = 0;
        }
    }
    for (int bin = 0; bin < BINS; ++bin) {
#pragma HLS PIPELINE
        for (int channel = 0; channel < FLASH_CHANNELS; ++channel) {
#pragma HLS UNROLL
            partial_payload_t payload = i_partial[channel].read();
            const int place = bin - below[channel];
            for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
                const long long part = (long long)take_signed<MIXED_BITS>(payload);
                if (place >= 0) sums[lane][place] += part;
            }
        }
    }
}

inline long_t take_mass(hls::stream<mass_payload_t>& i_mass) {
#pragma HLS INLINE
    long_t bins[BINS];
    for (int bin = 0; bin < BINS; ++bin) {
#pragma HLS PIPELINE
        bins[bin] = (long long)i_mass.read();
    }
    return collapse(bins);
}

// The kept tokens' share of the first step's mass, 0 to 2^16.
inline factor_t take_weight(hls::stream<mass_payload_t>& i_mass) {
#pragma HLS INLINE
    const Share whole = invert(take_mass(i_mass));
    const long_t kept = shift_round(take_mass(i_mass), shift_t(whole.down));
    const long_t product = (long long)kept * whole.value;
    long long alpha = (long long)shift_round(product, shift_t(UNIT));
    if (alpha > ONE) alpha = ONE;
    return factor_t(alpha);
}

inline void take_means(int tokens, hls::stream<value_sum_payload_t>& i_value_sum,
                       wide_t means[ROWS][LANES]) {
    const Share share = invert(long_t((long long)tokens << UNIT));
    for (int row = 0; row < ROWS; ++row) {
#pragma HLS PIPELINE
        value_sum_payload_t payload = i_value_sum.read();
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            const long long sum = (long long)take_signed<VALUE_SUM_BITS>(payload);
            means[row][lane] = divide_by(long_t(sum * (1LL << UNIT)), share);
        }
    }
}

inline void finish_query(bool compensates, factor_t alpha, int fraction,
                         const wide_t means[ROWS][LANES],
                         hls::stream<partial_payload_t> i_partial[FLASH_CHANNELS],
                         hls::stream<half_payload_t>& o) {
    int below[FLASH_CHANNELS], top = 0;
    for (int channel = 0; channel < FLASH_CHANNELS; ++channel) {
#pragma HLS UNROLL
        partial_payload_t payload = i_partial[channel].read();
        below[channel] = int(take_signed<MIXED_BITS>(payload));
        if (channel == 0 || below[channel] > top) top = below[channel];
    }
    for (int channel = 0; channel < FLASH_CHANNELS; ++channel) {
#pragma HLS UNROLL
        below[channel] = top - below[channel];
    }
    long_t sums[LANES][BINS];
    add_bins(i_partial, below, sums);
    const Share share = invert(collapse(sums[0]));
    for (int row = 0; row < ROWS; ++row) {
        add_bins(i_partial, below, sums);
        half_payload_t payload = 0;
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            wide_t found = divide_by(collapse(sums[lane]), share);
            if (compensates) {
                found = combine(found, alpha, shift_t(FACTOR_FRACTION), means[row][lane],
                                factor_t(ONE - (long long)alpha));
            }
            put<16>(payload, 16 * lane, (long long)to_half(found, fraction));
        }
        o.write(payload);
    }
}

}  // namespace nandu

#endif
