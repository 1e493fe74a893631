// The matrix engine: units side by side, and what gives each its own streams or the first one's.
#include "matrix_engine_top.hpp"

namespace nandu {

// Hands on each unit's own stream, or the first one's beats to all of them.
template <typename T>
static void fork(hls::stream<T> given[CHAINS], hls::stream<T> handed[CHAINS],
                 const count_t counts[CHAINS], count_t matrix_vector) {
    count_t most = 0;
    for (int chain = 0; chain < CHAINS; ++chain) {
#pragma HLS UNROLL
        if (counts[chain] > most) most = counts[chain];
    }
    for (count_t number = 0; number < most; number = number + 1) {
#pragma HLS PIPELINE II=1
        T first = T();
        if (number < counts[0]) first = given[0].read();
        for (int chain = 0; chain < CHAINS; ++chain) {
#pragma HLS UNROLL
            if (number < counts[chain]) {
                T payload = first;
                if (matrix_vector == 1 && chain > 0) payload = given[chain].read();
                handed[chain].write(payload);
            }
        }
    }
}

static void fork_sweeps(hls::stream<sweep_payload_t>& given,
                        hls::stream<sweep_payload_t> handed[CHAINS], count_t count) {
    for (count_t number = 0; number < count; number = number + 1) {
#pragma HLS PIPELINE II=1
        const sweep_payload_t sweep = given.read();
        for (int chain = 0; chain < CHAINS; ++chain) {
#pragma HLS UNROLL
            handed[chain].write(sweep);
        }
    }
}

// In a matrix-vector product all units have the same token, in both lanes.
static void fork_activations(hls::stream<activation_payload_t> given[CHAINS],
                             hls::stream<activation_payload_t> handed[CHAINS], count_t count,
                             count_t matrix_vector) {
    for (count_t number = 0; number < count; number = number + 1) {
#pragma HLS PIPELINE II=1
        const activation_payload_t first = given[0].read();
        activation_payload_t token = first;
        const ap_uint<ACTIVATION_BITS> activation(first.range(ACTIVATION_BITS - 1, 0));
        for (int lane = 1; lane < LANES; ++lane) {
#pragma HLS UNROLL
            put<ACTIVATION_BITS>(token, lane * ACTIVATION_BITS, (long long)activation);
        }
        for (int chain = 0; chain < CHAINS; ++chain) {
#pragma HLS UNROLL
            activation_payload_t payload = first;
            if (matrix_vector == 1) payload = token;
            else if (chain > 0) payload = given[chain].read();
            handed[chain].write(payload);
        }
    }
}

}  // namespace nandu

using namespace nandu;

void matrix_engine(count_t matrix_vector, count_t sweeps, count_t activations,
                   count_t segments[CHAINS], count_t words[CHAINS], count_t indices[CHAINS],
                   count_t passes[CHAINS], count_t beats[CHAINS], count_t rows[CHAINS],
                   hls::stream<sweep_payload_t>& i_sweep,
                   hls::stream<activation_payload_t> i_activation[CHAINS],
                   hls::stream<segment_payload_t> i_segment[CHAINS],
                   hls::stream<word_t> i_word[CHAINS],
                   hls::stream<index_payload_t> i_index[CHAINS],
                   hls::stream<pass_payload_t> i_pass[CHAINS],
                   hls::stream<scale_payload_t> i_scale[CHAINS],
                   hls::stream<output_payload_t> o[CHAINS]) {
#pragma HLS INTERFACE s_axilite port=return
#pragma HLS INTERFACE s_axilite port=matrix_vector
#pragma HLS INTERFACE s_axilite port=sweeps
#pragma HLS INTERFACE s_axilite port=activations
#pragma HLS INTERFACE s_axilite port=segments
#pragma HLS INTERFACE s_axilite port=words
#pragma HLS INTERFACE s_axilite port=indices
#pragma HLS INTERFACE s_axilite port=passes
#pragma HLS INTERFACE s_axilite port=beats
#pragma HLS INTERFACE s_axilite port=rows
#pragma HLS INTERFACE axis port=i_sweep
#pragma HLS INTERFACE axis port=i_activation
#pragma HLS INTERFACE axis port=i_segment
#pragma HLS INTERFACE axis port=i_word
#pragma HLS INTERFACE axis port=i_index
#pragma HLS INTERFACE axis port=i_pass
#pragma HLS INTERFACE axis port=i_scale
#pragma HLS INTERFACE axis port=o
// Each number is a register of its own, so that several parts can read it.
#pragma HLS ARRAY_PARTITION variable=segments complete
#pragma HLS ARRAY_PARTITION variable=words complete
#pragma HLS ARRAY_PARTITION variable=indices complete
#pragma HLS ARRAY_PARTITION variable=passes complete
#pragma HLS ARRAY_PARTITION variable=beats complete
#pragma HLS ARRAY_PARTITION variable=rows complete
#pragma HLS DATAFLOW
    hls::stream<sweep_payload_t> sweep[CHAINS];
    hls::stream<activation_payload_t> activation[CHAINS];
    hls::stream<segment_payload_t> segment[CHAINS];
    hls::stream<word_t> word[CHAINS];
    hls::stream<index_payload_t> index[CHAINS];
    hls::stream<pass_payload_t> pass[CHAINS];
    hls::stream<scale_payload_t> scale[CHAINS];
#pragma HLS STREAM variable=word depth=WEIGHT_DEPTH
#pragma HLS STREAM variable=index depth=INDEX_DEPTH
#pragma HLS STREAM variable=pass depth=PASS_DEPTH
    fork_sweeps(i_sweep, sweep, sweeps);
    fork_activations(i_activation, activation, activations, matrix_vector);
    fork(i_segment, segment, segments, matrix_vector);
    fork(i_word, word, words, matrix_vector);
    fork(i_index, index, indices, matrix_vector);
    fork(i_pass, pass, passes, matrix_vector);
    fork(i_scale, scale, rows, matrix_vector);
    for (int chain = 0; chain < CHAINS; ++chain) {
#pragma HLS UNROLL
        engine_unit(matrix_vector, sweeps, segments[chain], passes[chain], beats[chain],
                    rows[chain], sweep[chain], activation[chain], segment[chain], word[chain],
                    index[chain], pass[chain], scale[chain], o[chain]);
    }
}
