#ifndef NANDU_ATTENTION_SLICE_TOP_HPP
#define NANDU_ATTENTION_SLICE_TOP_HPP

#include "attention_slice.hpp"

// Commands of a call, and what makes logits of each query's scores: value * 2^exponent. Commands
// and streams are those of the RTL block, see storage_engine/attention_slice.py.
void attention_slice(nandu::count_t commands, nandu::count_t scale_value[nandu::QUERIES],
                     int scale_exponent[nandu::QUERIES],
                     hls::stream<nandu::command_payload_t>& i_command,
                     hls::stream<nandu::query_payload_t>& i_query,
                     hls::stream<nandu::element_payload_t>& i,
                     hls::stream<nandu::approximate_payload_t>& o_approximate,
                     hls::stream<nandu::partial_payload_t>& o_partial);

#endif
