// Decode attention as a kernel of its own, with the cache in memory.
#include "decode_attention_top.hpp"

using namespace nandu;

void decode_attention(count_t position, int score_shift, int score_fraction, int sum_shift,
                      int output_shift, hls::stream<head_word_t>& i_query,
                      hls::stream<scalar_payload_t>& i_scale, hls::stream<head_word_t>& i_key,
                      hls::stream<head_word_t>& i_value, head_word_t* keys, head_word_t* values,
                      hls::stream<slot_t>& o) {
#pragma HLS INTERFACE s_axilite port=return
#pragma HLS INTERFACE s_axilite port=position
#pragma HLS INTERFACE s_axilite port=score_shift
#pragma HLS INTERFACE s_axilite port=score_fraction
#pragma HLS INTERFACE s_axilite port=sum_shift
#pragma HLS INTERFACE s_axilite port=output_shift
#pragma HLS INTERFACE axis port=i_query
#pragma HLS INTERFACE axis port=i_scale
#pragma HLS INTERFACE axis port=i_key
#pragma HLS INTERFACE axis port=i_value
#pragma HLS INTERFACE m_axi port=keys bundle=keys offset=slave depth=CACHE_WORDS
#pragma HLS INTERFACE m_axi port=values bundle=values offset=slave depth=CACHE_WORDS
#pragma HLS INTERFACE axis port=o
    attend(position, score_shift, score_fraction, sum_shift, output_shift, i_query, i_scale, i_key,
           i_value, keys, values, o);
}
