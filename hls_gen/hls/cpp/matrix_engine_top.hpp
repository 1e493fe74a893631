#ifndef NANDU_MATRIX_ENGINE_TOP_HPP
#define NANDU_MATRIX_ENGINE_TOP_HPP

#include "matrix_engine.hpp"

// How much each unit does in a call: `sweeps` and `activations` are all units' the same, the others
// each unit's own. Streams as in docs/matrix-engine.md; where all units share a stream it is the
// first one.
void matrix_engine(nandu::count_t matrix_vector, nandu::count_t sweeps, nandu::count_t activations,
                   nandu::count_t segments[nandu::CHAINS], nandu::count_t words[nandu::CHAINS],
                   nandu::count_t indices[nandu::CHAINS], nandu::count_t passes[nandu::CHAINS],
                   nandu::count_t beats[nandu::CHAINS], nandu::count_t rows[nandu::CHAINS],
                   hls::stream<nandu::sweep_payload_t>& i_sweep,
                   hls::stream<nandu::activation_payload_t> i_activation[nandu::CHAINS],
                   hls::stream<nandu::segment_payload_t> i_segment[nandu::CHAINS],
                   hls::stream<nandu::word_t> i_word[nandu::CHAINS],
                   hls::stream<nandu::index_payload_t> i_index[nandu::CHAINS],
                   hls::stream<nandu::pass_payload_t> i_pass[nandu::CHAINS],
                   hls::stream<nandu::scale_payload_t> i_scale[nandu::CHAINS],
                   hls::stream<nandu::output_payload_t> o[nandu::CHAINS]);

#endif
