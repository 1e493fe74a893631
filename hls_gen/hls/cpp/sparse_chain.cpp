// The sparse chain as a kernel of its own. Its streams carry what those of the RTL block carry.
#include "sparse_chain_top.hpp"

namespace nandu {

static void unpack_weights(hls::stream<weight_payload_t>& i_weight, hls::stream<Weights>& weights,
                           count_t beats) {
    for (count_t beat = 0; beat < beats; beat = beat + 1) {
#pragma HLS PIPELINE II=1
        weight_payload_t payload = i_weight.read();
        Weights unpacked;
        for (int i = 0; i < CHAIN_LENGTH; ++i) {
#pragma HLS UNROLL
            unpacked.value[i] = take_signed<WEIGHT_BITS>(payload);
        }
        for (int i = 0; i < CHAIN_LENGTH; ++i) {
#pragma HLS UNROLL
            unpacked.second[i] = take<SECOND_BITS>(payload);
        }
        weights.write(unpacked);
    }
}

static void pack_sums(hls::stream<RowSum>& sums, hls::stream<row_sum_payload_t>& o,
                      count_t passes) {
    const count_t rows = passes * GROUP_LENGTH;
    for (count_t row = 0; row < rows; row = row + 1) {
#pragma HLS PIPELINE II=1
        const RowSum sum = sums.read();
        row_sum_payload_t payload = 0;
        put<ROW_BITS>(payload, 0, sum.row);
        put<STRIP_BITS>(payload, ROW_BITS, sum.strip);
        put<1>(payload, ROW_BITS + STRIP_BITS, sum.first);
        put<1>(payload, ROW_BITS + STRIP_BITS + 1, sum.last);
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            put<SUM_BITS>(payload, ROW_BITS + STRIP_BITS + 2 + lane * SUM_BITS, sum.lane[lane]);
        }
        o.write(payload);
    }
}

}  // namespace nandu

using namespace nandu;

void sparse_chain(count_t columns, count_t passes, count_t beats,
                  hls::stream<activation_payload_t>& i_activation,
                  hls::stream<pass_payload_t>& i_pass, hls::stream<weight_payload_t>& i_weight,
                  hls::stream<row_sum_payload_t> o[GROUPS]) {
#pragma HLS INTERFACE s_axilite port=return
#pragma HLS INTERFACE s_axilite port=columns
#pragma HLS INTERFACE s_axilite port=passes
#pragma HLS INTERFACE s_axilite port=beats
#pragma HLS INTERFACE axis port=i_activation
#pragma HLS INTERFACE axis port=i_pass
#pragma HLS INTERFACE axis port=i_weight
#pragma HLS INTERFACE axis port=o
#pragma HLS DATAFLOW
    hls::stream<Column> gathered("gathered");
#pragma HLS STREAM variable=gathered depth=2
    hls::stream<Weights> weights("weights");
    hls::stream<RowSum> sums[GROUPS];
#pragma HLS STREAM variable=sums depth=4
    gather_columns(i_activation, gathered, columns);
    unpack_weights(i_weight, weights, beats);
    multiply(gathered, i_pass, weights, sums, beats);
    for (int group = 0; group < GROUPS; ++group) {
#pragma HLS UNROLL
        pack_sums(sums[group], o[group], passes);
    }
}
