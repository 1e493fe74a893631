// The arithmetic of the special functions: what a lane does with an element, and steps on scalars.
//
// It is golden/special_functions/lane.py and scalars.py, operation by operation; see
// docs/special-functions.md for the formulas.
#ifndef NANDU_SPECIAL_FUNCTIONS_HPP
#define NANDU_SPECIAL_FUNCTIONS_HPP

#include "functions_config.hpp"
#include "integers.hpp"

namespace nandu {

typedef ap_int<27> wide_t;
typedef ap_int<18> factor_t;
typedef ap_int<8> byte_t;
typedef ap_int<50> product_t;  // two products of a wide element and a factor, and 2^47
typedef ap_int<52> sum_t_52;
typedef ap_uint<6> shift_t;

static const int FACTOR_FRACTION = 16;
static const int MOST_SHIFT = 47;
static const int ONE = 1 << FACTOR_FRACTION;

// value * 2^exponent.
struct Scalar {
    sum_t_52 value;
    ap_int<9> exponent;
};

inline Scalar exact(long long value) {
#pragma HLS INLINE
    Scalar scalar;
    scalar.value = value;
    scalar.exponent = 0;
    return scalar;
}

inline shift_t clamp_shift(int shift) {
#pragma HLS INLINE
    if (shift < 0) shift = 0;
    if (shift > MOST_SHIFT) shift = MOST_SHIFT;
    return shift_t(shift);
}

// Without the least value, so that a factor can be negated.
inline factor_t to_factor(wide_t value) {
#pragma HLS INLINE
    const int most = (1 << 17) - 1;
    if (value > most) value = most;
    if (value < -most) value = -most;
    return factor_t(value);
}

inline byte_t to_byte(wide_t value) {
#pragma HLS INLINE
    return saturate<8>(value);
}

// (a * first + other * second) / 2^shift.
inline wide_t combine(wide_t a, factor_t first, shift_t shift, wide_t other = 0,
                      factor_t second = 0) {
#pragma HLS INLINE
    const product_t sum = product_t(a * first) + product_t(other * second);
    return saturate<27>(shift_round(sum, shift));
}

// u * factor / 2^16.
inline wide_t scale(wide_t u, factor_t factor) {
#pragma HLS INLINE
    return saturate<27>(shift_round(product_t(u * factor), shift_t(FACTOR_FRACTION)));
}

// A table's function of an argument of DOMAIN + 16 bits: a straight line in each segment. Every
// lane gets a copy of the table, in which it looks up both ends of the segment.
template <int DOMAIN>
ap_int<18> line(const int table[TABLE_SEGMENTS + 1], ap_uint<28> argument) {
#pragma HLS INLINE
    const int bits = DOMAIN + FACTOR_FRACTION - TABLE_BITS;
    const int segment = int(argument) >> bits;
    const int rest = int(argument) & ((1 << bits) - 1);
    const ap_int<18> start = table[segment];
    const ap_int<18> rise = table[segment + 1] - table[segment];
    const product_t raised = product_t(start) * (1 << bits) + product_t(rise) * rest;
    return ap_int<18>(shift_round(raised, shift_t(bits)));
}

// A function f with f(-u) = 1 - f(u), which is 1 beyond the table's end.
template <int DOMAIN>
factor_t symmetric(const int table[TABLE_SEGMENTS + 1], wide_t u) {
#pragma HLS INLINE
    ap_int<28> argument = u;
    if (u < 0) argument = -u;
    factor_t value = ONE;
    if (argument < (1 << (DOMAIN + FACTOR_FRACTION))) {
        value = line<DOMAIN>(table, ap_uint<28>((long long)argument));
    }
    if (u < 0) value = ONE - value;
    return value;
}

inline factor_t sigmoid(wide_t u) {
#pragma HLS INLINE
    return symmetric<4>(SIGMOID_TABLE, u);
}

// The normal distribution's function.
inline factor_t normal(wide_t u) {
#pragma HLS INLINE
    return symmetric<3>(NORMAL_TABLE, u);
}

// 2^(u / 2^16) in units of 2^-fraction_bits; above 0 u counts as 0. The whole part of u is a factor
// with a single bit.
inline wide_t exp2(wide_t u, int fraction_bits) {
#pragma HLS INLINE
    if (u > 0) u = 0;
    const int octaves = -(int(u) >> FACTOR_FRACTION);
    const int fraction = int(u) & (ONE - 1);
    const int power = fraction_bits + 1 - octaves;
    factor_t factor = 0;
    if (power >= 0) factor = 1 << power;
    return scale(wide_t(line<0>(EXP2_TABLE, ap_uint<28>(fraction))), factor);
}

// The high and the low 7 bits of 14 unsigned ones.
inline byte_t half(wide_t value, bool high) {
#pragma HLS INLINE
    const int most = (1 << 14) - 1;
    if (value < 0) value = 0;
    if (value > most) value = most;
    const int bits = int(value);
    return byte_t(high ? bits >> 7 : bits & 127);
}

// ---- steps on scalars ----

// 0 for 0.
inline int leading_zeros(ap_uint<52> value) {
#pragma HLS INLINE
    int zeros = 0;
    for (int step = 32; step > 0; step /= 2) {
#pragma HLS UNROLL
        if ((value >> (52 - step)) == 0) {
            value = value << step;
            zeros += step;
        }
    }
    return zeros > 52 ? 0 : zeros;
}

inline Scalar make_scalar(long long value, int exponent) {
#pragma HLS INLINE
    Scalar scalar;
    scalar.value = value;
    scalar.exponent = value == 0 ? 0 : exponent;
    return scalar;
}

inline ap_uint<52> not_negative(sum_t_52 value) {
#pragma HLS INLINE
    if (value < 0) value = 0;
    return ap_uint<52>((long long)value);
}

// A value in [2^15, 2^16], or 0.
inline Scalar normalise(Scalar x) {
#pragma HLS INLINE
    const ap_uint<52> value = not_negative(x.value);
    const int zeros = leading_zeros(value);
    const ap_int<54> shifted = ap_int<54>((long long)value) << zeros;
    return make_scalar((long long)shift_round(shifted, shift_t(36)), int(x.exponent) + 36 - zeros);
}

// numerator / (x * 2^bits); 0 for 0.
inline Scalar divide(long long numerator, int bits, Scalar x) {
    const ap_int<34> divisor = x.value > 0 ? (long long)x.value : 1LL;
    ap_int<34> quotient = ap_int<34>(numerator) / divisor;
    const ap_int<36> twice_rest = 2 * (ap_int<36>(numerator) - quotient * divisor);
    const ap_int<34> odd = quotient & 1;
    if (twice_rest > divisor || (twice_rest == divisor && odd == 1)) quotient += 1;
    return make_scalar(x.value > 0 ? (long long)quotient : 0LL, -bits - int(x.exponent));
}

inline Scalar reciprocal(Scalar x) { return divide(1LL << 31, 31, normalise(x)); }

// 127 / magnitude.
inline Scalar quantiser(Scalar magnitude) { return divide(127LL << 24, 24, normalise(magnitude)); }

// The root of 32 bits, digit by digit, rounded to the nearest integer.
inline ap_uint<17> square_root(ap_uint<33> radicand) {
    ap_uint<17> root = 0;
    for (int bit = 15; bit >= 0; --bit) {
        const ap_uint<17> tried = root + (1 << bit);
        if (ap_uint<34>(tried * tried) <= radicand) root = tried;
    }
    const ap_uint<34> square = root * root;
    if (ap_uint<34>(radicand - square) > root) root = root + 1;
    return root;
}

// 1 / sqrt(x + epsilon); x has an even exponent, epsilon is exact.
inline Scalar inverse_root(Scalar x, Scalar epsilon) {
    const int down = x.exponent < 0 ? 0 : (x.exponent > 52 ? 52 : int(x.exponent));
    const ap_uint<52> total = not_negative(x.value) + (not_negative(epsilon.value) >> down);
    const int zeros = leading_zeros(total) & ~1;
    const ap_uint<52> shifted = total << zeros;
    const ap_uint<17> root = square_root(ap_uint<33>(shifted >> 20));
    const long long value = total == 0 ? 0 : (long long)root;
    const Scalar found = make_scalar(value, (20 - zeros) / 2 + (int(x.exponent) >> 1));
    return divide(1LL << 31, 31, found);
}

inline Scalar shift_scalar(Scalar x, int shift) {
#pragma HLS INLINE
    const ap_int<54> value = (long long)x.value;
    Scalar shifted;
    shifted.value = (long long)shift_round(value, clamp_shift(shift));
    shifted.exponent = x.exponent;
    return shifted;
}

}  // namespace nandu

#endif
