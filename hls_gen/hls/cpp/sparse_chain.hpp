// The sparse chain: sums of the products of a strip's kept weights with a column's activations.
//
// A beat has CHAIN_LENGTH weights. In beat j of a pass of n beats, multiplier i works on row
// (i / n) * n + j of the strip; so the products of one row lie side by side, in n multipliers.
// docs/sparse-chain.md has the proof that each DSP group gives at most one row in a beat.
#ifndef NANDU_SPARSE_CHAIN_HPP
#define NANDU_SPARSE_CHAIN_HPP

#include "chain_config.hpp"
#include "integers.hpp"

namespace nandu {

typedef ap_int<ACTIVATION_BITS> activation_t;
typedef ap_int<SUM_BITS> sum_t;

typedef ap_uint<LANES * ACTIVATION_BITS> activation_payload_t;
typedef ap_uint<CODE_BITS + SEGMENT_BITS + STRIP_BITS + 6> pass_payload_t;
typedef ap_uint<CHAIN_LENGTH * (WEIGHT_BITS + SECOND_BITS)> weight_payload_t;
typedef ap_uint<ROW_BITS + STRIP_BITS + 2 + LANES * SUM_BITS> row_sum_payload_t;

struct Column {
    activation_t lane[LANES][M];
};

// What a pass says; see `pass_layout` in hw/layouts.py.
struct Pass {
    ap_uint<CODE_BITS> code;  // log2(beats / GROUP_LENGTH)
    ap_uint<1> dense, two_rows;
    ap_uint<SEGMENT_BITS> segment;
    ap_uint<STRIP_BITS> strip;
    ap_uint<1> first, last, end_column, end_group;
};

// A beat: for each multiplier a weight, and its index or the second row's weight.
struct Weights {
    ap_int<WEIGHT_BITS> value[CHAIN_LENGTH];
    ap_uint<SECOND_BITS> second[CHAIN_LENGTH];
};

struct RowSum {
    ap_uint<ROW_BITS> row;  // in its DSP group
    ap_uint<STRIP_BITS> strip;
    ap_uint<1> first, last;
    sum_t lane[LANES];
};

inline Pass unpack_pass(pass_payload_t payload) {
#pragma HLS INLINE
    Pass pass;
    pass.code = take<CODE_BITS>(payload);
    pass.dense = take<1>(payload);
    pass.two_rows = take<1>(payload);
    pass.segment = take<SEGMENT_BITS>(payload);
    pass.strip = take<STRIP_BITS>(payload);
    pass.first = take<1>(payload);
    pass.last = take<1>(payload);
    pass.end_column = take<1>(payload);
    pass.end_group = take<1>(payload);
    return pass;
}

// Collects the activations of whole columns. It runs a column ahead of the multipliers, and so
// stands for the double memories in front of them.
inline void gather_columns(hls::stream<activation_payload_t>& i_activation,
                           hls::stream<Column>& columns, count_t count) {
    for (count_t number = 0; number < count; number = number + 1) {
        Column column;
#pragma HLS ARRAY_PARTITION variable=column.lane complete dim=0
        for (int input = 0; input < M; ++input) {
#pragma HLS PIPELINE II=1
            activation_payload_t payload = i_activation.read();
            for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
                column.lane[lane][input] = take_signed<ACTIVATION_BITS>(payload);
            }
        }
        columns.write(column);
    }
}

// Returns the products of one DSP group, summed in each lane.
inline void group_sum(const Column& column, const Pass& pass, const Weights& weights, int group,
                      sum_t sums[LANES]) {
#pragma HLS INLINE
    for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
        sums[lane] = 0;
        for (int term = 0; term < GROUP_LENGTH; ++term) {
#pragma HLS UNROLL
            const int i = group * GROUP_LENGTH + term;
            // The sparse mux: a dense pass knows its inputs, others have an index per weight.
            int input = int(weights.second[i]) % M;
            if (pass.dense == 1) input = int(pass.segment) * CHAIN_LENGTH + i;
            activation_t activation = column.lane[lane][input];
            ap_int<WEIGHT_BITS> weight = weights.value[i];
            if (pass.two_rows == 1) {
                // Both lanes share the token, and each has a row of its own.
                activation = column.lane[0][input];
                if (lane == 1) weight = ap_int<WEIGHT_BITS>((long long)weights.second[i]);
            }
            sums[lane] += sum_t(weight * activation);
        }
    }
}

// Multiplies beat by beat. Each DSP group gives the rows that end in it, in their order.
inline void multiply(hls::stream<Column>& columns, hls::stream<pass_payload_t>& passes,
                     hls::stream<Weights>& weights, hls::stream<RowSum> sums[GROUPS],
                     count_t beats) {
    Column column;
#pragma HLS ARRAY_PARTITION variable=column.lane complete dim=0
    Pass pass;
    int j = 0;
    bool column_done = true;
    for (count_t beat = 0; beat < beats; beat = beat + 1) {
#pragma HLS PIPELINE II=1
        if (j == 0) {
            pass = unpack_pass(passes.read());
            if (column_done) column = columns.read();
            column_done = pass.end_column == 1;
        }
        const Weights beat_weights = weights.read();

        // Level c of the tree has the sums of GROUP_LENGTH << c multipliers.
        sum_t tree[CODES][GROUPS][LANES];
#pragma HLS ARRAY_PARTITION variable=tree complete dim=0
        for (int group = 0; group < GROUPS; ++group) {
#pragma HLS UNROLL
            group_sum(column, pass, beat_weights, group, tree[0][group]);
        }
        for (int level = 1; level < CODES; ++level) {
#pragma HLS UNROLL
            for (int node = 0; node < GROUPS >> level; ++node) {
#pragma HLS UNROLL
                for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
                    tree[level][node][lane] = sum_t(tree[level - 1][2 * node][lane] +
                                                    tree[level - 1][2 * node + 1][lane]);
                }
            }
        }

        const int code = int(pass.code);
        for (int group = 0; group < GROUPS; ++group) {
#pragma HLS UNROLL
            // Rows of this group are GROUP_LENGTH beats of the pass, from this one on.
            const int first_beat = (group % (1 << code)) * GROUP_LENGTH;
            if (j >= first_beat && j < first_beat + GROUP_LENGTH) {
                RowSum sum;
                sum.row = j - first_beat;
                sum.strip = pass.strip;
                sum.first = pass.first;
                sum.last = pass.last;
                for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
                    sum.lane[lane] = tree[code][group >> code][lane];
                }
                sums[group].write(sum);
            }
        }
        j = j + 1 == GROUP_LENGTH << code ? 0 : j + 1;
    }
}

}  // namespace nandu

#endif
