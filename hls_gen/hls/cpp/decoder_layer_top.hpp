#ifndef NANDU_DECODER_LAYER_TOP_HPP
#define NANDU_DECODER_LAYER_TOP_HPP

#include "linear.hpp"

// One decoder layer for the token at `position`: the wide vector `i` in, `o` out. The numbers are
// those of a `Layer` in golden/transformer.py, so one kernel does all layers of a model. A matrix
// is the words of its weight streams; both rotations have cos and sin of the position, as
// `rope_table` has them.
void decoder_layer(nandu::count_t position, long long attention_epsilon, int query_shift,
                   int key_shift, int value_shift, int score_shift, int score_fraction,
                   int sum_shift, int output_shift, int attention_output_shift,
                   int attention_first, int attention_second, int attention_shift,
                   long long feed_forward_epsilon, int gate_linear_shift, int up_linear_shift,
                   int gate_shift, int product_first, int down_shift, int feed_forward_first,
                   int feed_forward_second, int feed_forward_shift,
                   hls::stream<nandu::slot_t>& i, const nandu::slot_t* attention_gamma,
                   const nandu::slot_t* feed_forward_gamma, const nandu::slot_t* query_rotation,
                   const nandu::slot_t* key_rotation, const nandu::memory_word_t* query,
                   const nandu::memory_word_t* key, const nandu::memory_word_t* value,
                   const nandu::memory_word_t* output, const nandu::memory_word_t* gate,
                   const nandu::memory_word_t* up, const nandu::memory_word_t* down,
                   nandu::head_word_t* keys, nandu::head_word_t* values,
                   hls::stream<nandu::slot_t>& o);

#endif
