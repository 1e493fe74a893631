// A decoder layer of kernels that run at once, joined by streams: norms and other special
// functions, seven linear layers with engine units for each, and attention over the cache.
#include "decoder_layer_top.hpp"

using namespace nandu;

void decoder_layer(count_t position, long long attention_epsilon, int query_shift, int key_shift,
                   int value_shift, int score_shift, int score_fraction, int sum_shift,
                   int output_shift, int attention_output_shift, int attention_first,
                   int attention_second, int attention_shift, long long feed_forward_epsilon,
                   int gate_linear_shift, int up_linear_shift, int gate_shift, int product_first,
                   int down_shift, int feed_forward_first, int feed_forward_second,
                   int feed_forward_shift, hls::stream<slot_t>& i, const slot_t* attention_gamma,
                   const slot_t* feed_forward_gamma, const slot_t* query_rotation,
                   const slot_t* key_rotation, const memory_word_t* query,
                   const memory_word_t* key, const memory_word_t* value,
                   const memory_word_t* output, const memory_word_t* gate,
                   const memory_word_t* up, const memory_word_t* down, head_word_t* keys,
                   head_word_t* values, hls::stream<slot_t>& o) {
#pragma HLS INTERFACE s_axilite port=return
#pragma HLS INTERFACE s_axilite port=position
#pragma HLS INTERFACE s_axilite port=attention_epsilon
#pragma HLS INTERFACE s_axilite port=query_shift
#pragma HLS INTERFACE s_axilite port=key_shift
#pragma HLS INTERFACE s_axilite port=value_shift
#pragma HLS INTERFACE s_axilite port=score_shift
#pragma HLS INTERFACE s_axilite port=score_fraction
#pragma HLS INTERFACE s_axilite port=sum_shift
#pragma HLS INTERFACE s_axilite port=output_shift
#pragma HLS INTERFACE s_axilite port=attention_output_shift
#pragma HLS INTERFACE s_axilite port=attention_first
#pragma HLS INTERFACE s_axilite port=attention_second
#pragma HLS INTERFACE s_axilite port=attention_shift
#pragma HLS INTERFACE s_axilite port=feed_forward_epsilon
#pragma HLS INTERFACE s_axilite port=gate_linear_shift
#pragma HLS INTERFACE s_axilite port=up_linear_shift
#pragma HLS INTERFACE s_axilite port=gate_shift
#pragma HLS INTERFACE s_axilite port=product_first
#pragma HLS INTERFACE s_axilite port=down_shift
#pragma HLS INTERFACE s_axilite port=feed_forward_first
#pragma HLS INTERFACE s_axilite port=feed_forward_second
#pragma HLS INTERFACE s_axilite port=feed_forward_shift
#pragma HLS INTERFACE axis port=i
#pragma HLS INTERFACE axis port=o
#pragma HLS INTERFACE m_axi port=attention_gamma bundle=vectors_0 offset=slave depth=HIDDEN
#pragma HLS INTERFACE m_axi port=feed_forward_gamma bundle=vectors_1 offset=slave depth=HIDDEN
#pragma HLS INTERFACE m_axi port=query_rotation bundle=vectors_2 offset=slave depth=HEAD_SIZE
#pragma HLS INTERFACE m_axi port=key_rotation bundle=vectors_3 offset=slave depth=HEAD_SIZE
#pragma HLS INTERFACE m_axi port=query bundle=query offset=slave depth=QUERY_WORDS
#pragma HLS INTERFACE m_axi port=key bundle=key offset=slave depth=KEY_WORDS
#pragma HLS INTERFACE m_axi port=value bundle=value offset=slave depth=VALUE_WORDS
#pragma HLS INTERFACE m_axi port=output bundle=output offset=slave depth=OUTPUT_WORDS
#pragma HLS INTERFACE m_axi port=gate bundle=gate offset=slave depth=GATE_WORDS
#pragma HLS INTERFACE m_axi port=up bundle=up offset=slave depth=UP_WORDS
#pragma HLS INTERFACE m_axi port=down bundle=down offset=slave depth=DOWN_WORDS
#pragma HLS INTERFACE m_axi port=keys bundle=keys offset=slave depth=CACHE_WORDS
#pragma HLS INTERFACE m_axi port=values bundle=values offset=slave depth=CACHE_WORDS
#pragma HLS DATAFLOW
    // Attention: the token goes to three linear layers, its query to the cache's keys.
    hls::stream<slot_t> residual("residual");
// It waits until the attention is done.
#pragma HLS STREAM variable=residual depth=HIDDEN
    hls::stream<byte_t> normal("normal"), normals[3];
#pragma HLS STREAM variable=normals depth=HIDDEN
    hls::stream<scalar_payload_t> normal_scale("normal_scale"), normal_scales[3];
    norm_and_quantise(i, attention_gamma, attention_epsilon, residual, normal, normal_scale);
    copy_bytes<3>(normal, normal_scale, normals, normal_scales);
    hls::stream<slot_t> queries("queries"), new_keys("new_keys"), new_values("new_values");
    linear<HEADS * HEAD_SIZE>(QUERY, query, query_shift, normals[0], normal_scales[0], queries);
    linear<KV_HEADS * HEAD_SIZE>(KEY, key, key_shift, normals[1], normal_scales[1], new_keys);
    linear<KV_HEADS * HEAD_SIZE>(VALUE, value, value_shift, normals[2], normal_scales[2],
                                 new_values);

    hls::stream<slot_t> turned_queries("turned_queries"), turned_keys("turned_keys");
    hls::stream<byte_t> query_bytes("query_bytes"), key_bytes("key_bytes");
    hls::stream<byte_t> value_bytes("value_bytes");
    hls::stream<scalar_payload_t> query_scales("query_scales");
#pragma HLS STREAM variable=query_scales depth=HEADS
    hls::stream<head_word_t> query_heads("query_heads"), key_heads("key_heads");
    hls::stream<head_word_t> value_heads("value_heads");
#pragma HLS STREAM variable=query_heads depth=HEADS
#pragma HLS STREAM variable=key_heads depth=KV_HEADS
#pragma HLS STREAM variable=value_heads depth=KV_HEADS
    rotate<HEADS>(queries, query_rotation, turned_queries);
    rotate<KV_HEADS>(new_keys, key_rotation, turned_keys);
    quantise_vectors<HEADS, HEAD_SIZE>(turned_queries, query_bytes, query_scales);
    quantise_for_cache(turned_keys, key_bytes);
    quantise_for_cache(new_values, value_bytes);
    gather_heads<HEADS>(query_bytes, query_heads);
    gather_heads<KV_HEADS>(key_bytes, key_heads);
    gather_heads<KV_HEADS>(value_bytes, value_heads);

    hls::stream<slot_t> mixed("mixed"), attended("attended"), middle("middle");
    hls::stream<byte_t> mixed_bytes("mixed_bytes");
    hls::stream<scalar_payload_t> mixed_scale("mixed_scale");
    attend(position, score_shift, score_fraction, sum_shift, output_shift, query_heads,
           query_scales, key_heads, value_heads, keys, values, mixed);
    quantise_vectors<1, HEADS * HEAD_SIZE>(mixed, mixed_bytes, mixed_scale);
    linear<HIDDEN>(OUTPUT, output, attention_output_shift, mixed_bytes, mixed_scale, attended);
    add_residual(residual, attended, attention_first, attention_second, attention_shift, middle);

    // The gated feed-forward network.
    hls::stream<slot_t> second_residual("second_residual");
#pragma HLS STREAM variable=second_residual depth=HIDDEN
    hls::stream<byte_t> second_normal("second_normal"), second_normals[2];
#pragma HLS STREAM variable=second_normals depth=HIDDEN
    hls::stream<scalar_payload_t> second_scale("second_scale"), second_scales[2];
    norm_and_quantise(middle, feed_forward_gamma, feed_forward_epsilon, second_residual,
                      second_normal, second_scale);
    copy_bytes<2>(second_normal, second_scale, second_normals, second_scales);
    hls::stream<slot_t> gates("gates"), ups("ups"), gated("gated"), network("network");
    hls::stream<byte_t> gated_bytes("gated_bytes");
    hls::stream<scalar_payload_t> gated_scale("gated_scale");
    linear<FEED_FORWARD>(GATE, gate, gate_linear_shift, second_normals[0], second_scales[0], gates);
    linear<FEED_FORWARD>(UP, up, up_linear_shift, second_normals[1], second_scales[1], ups);
    gated_product(gates, ups, gate_shift, product_first, gated);
    quantise_vectors<1, FEED_FORWARD>(gated, gated_bytes, gated_scale);
    linear<HIDDEN>(DOWN, down, down_shift, gated_bytes, gated_scale, network);
    add_residual(second_residual, network, feed_forward_first, feed_forward_second,
                 feed_forward_shift, o);
}
