// Integers as every kernel rounds, saturates and packs them. Rounding is half to even, everywhere.
#ifndef NANDU_INTEGERS_HPP
#define NANDU_INTEGERS_HPP

#include <ap_int.h>
#include <hls_stream.h>

namespace nandu {

// Numbers of payloads, words and so on of one call.
typedef ap_uint<32> count_t;

// Takes the lowest N bits of a payload away and returns them: fields follow each other from the
// lowest bit on.
template <int N, int W>
ap_uint<N> take(ap_uint<W>& payload) {
#pragma HLS INLINE
    const ap_uint<N> field(payload.range(N - 1, 0));
    payload >>= N;
    return field;
}

// The same for a field in two's complement.
template <int N, int W>
ap_int<N> take_signed(ap_uint<W>& payload) {
#pragma HLS INLINE
    return ap_int<N>((long long)take<N>(payload));
}

// Writes a field of N bits to a payload at `low`.
template <int N, int W>
void put(ap_uint<W>& payload, int low, long long value) {
#pragma HLS INLINE
    payload.range(low + N - 1, low) = ap_uint<N>(value);
}

template <int TO, int FROM>
ap_int<TO> saturate(ap_int<FROM> value) {
#pragma HLS INLINE
    const ap_int<FROM> most = (1LL << (TO - 1)) - 1;
    const ap_int<FROM> least = -(1LL << (TO - 1));
    if (value > most) value = most;
    if (value < least) value = least;
    return ap_int<TO>(value);
}

// value / 2^shift, rounded half to even. `value` and 2^shift must leave a bit of W free.
template <int W>
ap_int<W> shift_round(ap_int<W> value, ap_uint<6> shift) {
#pragma HLS INLINE
    const ap_int<W> unit = ap_int<W>(1) << int(shift);
    const ap_int<W> raised = value + (unit >> 1);
    ap_int<W> quotient = raised >> int(shift);
    const ap_int<W> rest = raised & (unit - 1);
    const ap_int<W> odd = quotient & 1;
    if (shift > 0 && rest == 0 && odd == 1) quotient -= 1;
    return quotient;
}

}  // namespace nandu

#endif
