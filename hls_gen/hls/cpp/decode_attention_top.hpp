#ifndef NANDU_DECODE_ATTENTION_TOP_HPP
#define NANDU_DECODE_ATTENTION_TOP_HPP

#include "decode_attention.hpp"

// Attends the token at `position` to all in front of it and to itself. The shifts are those of
// `Attention` in golden/transformer.py. A word of `keys` and `values` is a head's of a position;
// heads of one position lie side by side. The new key and value are written there.
void decode_attention(nandu::count_t position, int score_shift, int score_fraction, int sum_shift,
                      int output_shift, hls::stream<nandu::head_word_t>& i_query,
                      hls::stream<nandu::scalar_payload_t>& i_scale,
                      hls::stream<nandu::head_word_t>& i_key,
                      hls::stream<nandu::head_word_t>& i_value, nandu::head_word_t* keys,
                      nandu::head_word_t* values, hls::stream<nandu::slot_t>& o);

#endif
