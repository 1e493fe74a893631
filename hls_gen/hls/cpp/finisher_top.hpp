#ifndef NANDU_FINISHER_TOP_HPP
#define NANDU_FINISHER_TOP_HPP

#include "finisher.hpp"

// Jobs of a call; streams as those of the RTL block in storage_engine/finisher.py.
void finisher(nandu::count_t jobs, hls::stream<nandu::job_payload_t>& i_job,
              hls::stream<nandu::value_sum_payload_t>& i_value_sum,
              hls::stream<nandu::mass_payload_t>& i_mass,
              hls::stream<nandu::partial_payload_t> i_partial[nandu::FLASH_CHANNELS],
              hls::stream<nandu::half_payload_t>& o);

#endif
