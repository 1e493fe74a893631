#ifndef NANDU_SPARSE_CHAIN_TOP_HPP
#define NANDU_SPARSE_CHAIN_TOP_HPP

#include "sparse_chain.hpp"

// Columns (of all tiles), passes and beats of a call; streams as in docs/sparse-chain.md.
void sparse_chain(nandu::count_t columns, nandu::count_t passes, nandu::count_t beats,
                  hls::stream<nandu::activation_payload_t>& i_activation,
                  hls::stream<nandu::pass_payload_t>& i_pass,
                  hls::stream<nandu::weight_payload_t>& i_weight,
                  hls::stream<nandu::row_sum_payload_t> o[nandu::GROUPS]);

#endif
