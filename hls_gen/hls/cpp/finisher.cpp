// The finisher as a kernel. Its streams carry what those of the RTL block carry.
#include "finisher_top.hpp"

using namespace nandu;

void finisher(count_t jobs, hls::stream<job_payload_t>& i_job,
              hls::stream<value_sum_payload_t>& i_value_sum, hls::stream<mass_payload_t>& i_mass,
              hls::stream<partial_payload_t> i_partial[FLASH_CHANNELS],
              hls::stream<half_payload_t>& o) {
#pragma HLS INTERFACE s_axilite port=return
#pragma HLS INTERFACE s_axilite port=jobs
#pragma HLS INTERFACE axis port=i_job
#pragma HLS INTERFACE axis port=i_value_sum
#pragma HLS INTERFACE axis port=i_mass
#pragma HLS INTERFACE axis port=i_partial
#pragma HLS INTERFACE axis port=o
    wide_t means[ROWS][LANES] = {};
#pragma HLS ARRAY_PARTITION variable=means dim=2 complete
    for (count_t job = 0; job < jobs; job = job + 1) {
        job_payload_t payload = i_job.read();
        const bool compensates = take<1>(payload) == 1;
        const int fraction = OUTPUT_FRACTION + int(take_signed<FRACTION_BITS>(payload));
        const int tokens = int(take<TOKENS_BITS>(payload));
        if (compensates) take_means(tokens, i_value_sum, means);
        for (int query = 0; query < QUERIES; ++query) {
            factor_t alpha = 0;
            if (compensates) alpha = take_weight(i_mass);
            finish_query(compensates, alpha, fraction, means, i_partial, o);
        }
    }
}
