// The special function unit: jobs are passes over vectors in streams, or steps on scalar registers.
#include "special_function_unit_top.hpp"

namespace nandu {

enum Operation {
    LINEAR = 0,
    PRODUCT = 1,
    ROTATE = 2,
    SILU = 3,
    GELU = 4,
    EXP = 5,
    SQUARES = 6,
    LOAD = 8,
    SHIFT = 9,
    NORMALISE = 10,
    RECIPROCAL = 11,
    QUANTISER = 12,
    INVERSE_ROOT = 13
};
enum Second { NO_SECOND = 0, VECTOR = 1, SCALAR = 2 };
enum Byte { NO_BYTE = 0, SATURATED = 1, HIGH = 2, LOW = 3 };
enum Reduction { NO_REDUCTION = 0, MAXIMUM = 1, MAGNITUDE = 2, SUM = 3 };

// The fields are those of `Job` in golden/spec/special_function_unit.py.
struct Job {
    int operation, length;
    factor_t first, second;
    int shift, scale, other, target, source, fraction_bits, byte, reduction;
    bool scaled, minus, wide, carry;
    bool takes_b() const { return source == VECTOR || operation == PRODUCT || operation == ROTATE; }
};

static Job unpack_job(job_payload_t payload) {
#pragma HLS INLINE
    Job job;
    job.operation = int(take<4>(payload));
    job.length = int(take<16>(payload)) + 1;
    job.first = take_signed<18>(payload);
    job.second = take_signed<18>(payload);
    job.shift = int(take_signed<8>(payload));
    job.scaled = take<1>(payload) == 1;
    job.scale = int(take<4>(payload));
    job.other = int(take<4>(payload));
    job.target = int(take<4>(payload));
    job.source = int(take<2>(payload));
    job.minus = take<1>(payload) == 1;
    job.fraction_bits = int(take<4>(payload));
    job.wide = take<1>(payload) == 1;
    job.byte = int(take<2>(payload));
    job.reduction = int(take<2>(payload));
    job.carry = take<1>(payload) == 1;
    return job;
}

// Returns what a step on scalars leaves in its register.
static Scalar step(const Job& job, Scalar x, Scalar other) {
    switch (job.operation) {
        case LOAD: return exact((long long)job.first * (1LL << job.shift));
        case SHIFT: return shift_scalar(x, job.shift);
        case NORMALISE: return normalise(x);
        case RECIPROCAL: return reciprocal(x);
        case QUANTISER: return quantiser(x);
        default: return inverse_root(x, other);
    }
}

// What all elements of a pass have in common.
struct Constants {
    shift_t shift;
    factor_t first, second;
    wide_t other;
};

static Constants constants_of(const Job& job, const Scalar registers[16]) {
#pragma HLS INLINE
    const int exponent = job.scaled ? int(registers[job.scale].exponent) : 0;
    Constants constants;
    constants.first = job.first;
    if (job.operation == SQUARES) {
        constants.shift = clamp_shift(job.shift + (exponent > 0 ? exponent : 0));
    } else {
        constants.shift = clamp_shift(job.shift - exponent);
        if (job.scaled) {
            constants.first = (long long)ap_uint<17>((long long)registers[job.scale].value);
        }
    }
    constants.second = job.second;
    if (job.minus) constants.second = -constants.first;
    constants.other = saturate<27>(registers[job.other].value);
    return constants;
}

// Returns u of one element; `neighbour` is the other one of its pair.
static wide_t first_product(const Job& job, const Constants& constants, wide_t a, wide_t neighbour,
                            wide_t b, wide_t cosine, wide_t sine, bool odd) {
#pragma HLS INLINE
    if (job.operation == ROTATE) {
        factor_t turned = to_factor(sine);
        if (!odd) turned = -turned;
        return combine(a, to_factor(cosine), constants.shift, neighbour, turned);
    }
    wide_t other = 0;
    if (job.source == VECTOR) other = b;
    if (job.source == SCALAR) other = constants.other;
    return combine(a, constants.first, constants.shift, other, constants.second);
}

static wide_t output(const Job& job, wide_t u, wide_t b) {
#pragma HLS INLINE
    const factor_t factor = to_factor(u);
    switch (job.operation) {
        case PRODUCT: return scale(u, to_factor(b));
        case SILU: return scale(u, sigmoid(u));
        case GELU: return scale(u, normal(u));
        case EXP: return exp2(u, job.fraction_bits);
        case SQUARES: return wide_t(ap_int<36>(factor * factor) >> FACTOR_FRACTION);
        default: return u;
    }
}

static byte_t byte_of(const Job& job, wide_t out) {
#pragma HLS INLINE
    if (job.byte == SATURATED) return to_byte(out);
    return half(out, job.byte == HIGH);
}

// Takes one output into the reduction.
static sum_t_52 reduce(const Job& job, sum_t_52 before, wide_t out, wide_t u) {
#pragma HLS INLINE
    if (job.reduction == SUM) {
        const factor_t factor = to_factor(u);
        ap_int<36> summand = out;
        if (job.operation == SQUARES) summand = factor * factor;
        return sum_t_52(before + summand);
    }
    ap_int<28> key = out;
    if (job.reduction == MAGNITUDE && out < 0) key = -out;
    if (before > key) return before;
    return sum_t_52(key);
}

static void pass(const Job& job, Scalar registers[16], hls::stream<wide_payload_t>& i_a,
                 hls::stream<wide_payload_t>& i_b, hls::stream<wide_payload_t>& o,
                 hls::stream<byte_payload_t>& o_byte) {
    const Constants constants = constants_of(job, registers);
    const int words = (job.length + ELEMENTS - 1) / ELEMENTS;
    sum_t_52 reduced = job.reduction == SUM ? 0 : -(1 << 28);
    if (job.carry) {
        reduced = registers[job.target].value;
        if (job.reduction != SUM) reduced = saturate<28>(registers[job.target].value);
    }
    for (int word = 0; word < words; ++word) {
#pragma HLS PIPELINE II=1
        wide_payload_t payload = i_a.read();
        wide_payload_t other = 0;
        if (job.takes_b()) other = i_b.read();
        wide_t a[ELEMENTS], b[ELEMENTS];
        for (int i = 0; i < ELEMENTS; ++i) {
#pragma HLS UNROLL
            a[i] = (long long)take_signed<32>(payload);
            b[i] = (long long)take_signed<32>(other);
        }
        wide_payload_t wide = 0;
        byte_payload_t bytes = 0;
        for (int i = 0; i < ELEMENTS; ++i) {
#pragma HLS UNROLL
            const bool inside = word * ELEMENTS + i < job.length;
            const int even = i & ~1;
            const wide_t u = first_product(job, constants, a[i], a[i ^ 1], b[i], b[even],
                                           b[even + 1], (i & 1) != 0);
            wide_t out = output(job, u, b[i]);
            byte_t byte = byte_of(job, out);
            if (inside) reduced = reduce(job, reduced, out, u);
            if (!inside) {
                out = 0;
                byte = 0;
            }
            put<32>(wide, 32 * i, (long long)out);
            put<8>(bytes, 8 * i, (long long)byte);
        }
        if (job.wide) o.write(wide);
        if (job.byte != NO_BYTE) o_byte.write(bytes);
    }
    if (job.reduction != NO_REDUCTION) {
        registers[job.target].value = reduced;
        registers[job.target].exponent = job.operation == SQUARES ? 2 * int(constants.shift) : 0;
    }
}

}  // namespace nandu

using namespace nandu;

void special_function_unit(count_t jobs, hls::stream<job_payload_t>& i_job,
                           hls::stream<wide_payload_t>& i_a, hls::stream<wide_payload_t>& i_b,
                           hls::stream<wide_payload_t>& o, hls::stream<byte_payload_t>& o_byte) {
#pragma HLS INTERFACE s_axilite port=return
#pragma HLS INTERFACE s_axilite port=jobs
#pragma HLS INTERFACE axis port=i_job
#pragma HLS INTERFACE axis port=i_a
#pragma HLS INTERFACE axis port=i_b
#pragma HLS INTERFACE axis port=o
#pragma HLS INTERFACE axis port=o_byte
    Scalar registers[16];
#pragma HLS ARRAY_PARTITION variable=registers complete
    for (int i = 0; i < 16; ++i) {
#pragma HLS UNROLL
        registers[i] = exact(0);
    }
    for (count_t number = 0; number < jobs; number = number + 1) {
        const Job job = unpack_job(i_job.read());
        if (job.operation >= LOAD) {
            registers[job.target] = step(job, registers[job.scale], registers[job.other]);
        } else {
            pass(job, registers, i_a, i_b, o, o_byte);
        }
    }
}
