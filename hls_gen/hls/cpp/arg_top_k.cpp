// The arg-top-k unit as a kernel. Its streams carry what those of the RTL block carry.
#include "arg_top_k_top.hpp"

using namespace nandu;

void arg_top_k(count_t jobs, count_t runs, hls::stream<job_payload_t>& i_job,
               hls::stream<beat_payload_t>& i, hls::stream<index_payload_t>& o) {
#pragma HLS INTERFACE s_axilite port=return
#pragma HLS INTERFACE s_axilite port=jobs
#pragma HLS INTERFACE s_axilite port=runs
#pragma HLS INTERFACE axis port=i_job
#pragma HLS INTERFACE axis port=i
#pragma HLS INTERFACE axis port=o
#pragma HLS DATAFLOW
    hls::stream<Entry> entries[LANES], sorted[LANES], kept[LANES];
    hls::stream<ap_uint<1> > ends[LANES];
    hls::stream<count_t> to_choose("to_choose"), to_give("to_give");
    hls::stream<index_t> chosen("chosen");
// The ends of runs and counts of jobs wait until their entries are sorted.
#pragma HLS STREAM variable=ends depth=RUNS_INSIDE
#pragma HLS STREAM variable=to_choose depth=RUNS_INSIDE
#pragma HLS STREAM variable=to_give depth=RUNS_INSIDE
    enter(jobs, i_job, i, entries, ends, to_choose, to_give);
    for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
        Sorter<1>::sort(runs, entries[lane], sorted[lane]);
        keep_best(runs, sorted[lane], ends[lane], kept[lane]);
    }
    choose(jobs, to_choose, kept, chosen);
    give(jobs, to_give, chosen, o);
}
