#ifndef NANDU_ARG_TOP_K_TOP_HPP
#define NANDU_ARG_TOP_K_TOP_HPP

#include "arg_top_k.hpp"

// Jobs of a call, and the runs of RUN beats of all of them, a short last one of each counted;
// streams as those of the RTL block in storage_engine/arg_top_k.py.
void arg_top_k(nandu::count_t jobs, nandu::count_t runs, hls::stream<nandu::job_payload_t>& i_job,
               hls::stream<nandu::beat_payload_t>& i, hls::stream<nandu::index_payload_t>& o);

#endif
