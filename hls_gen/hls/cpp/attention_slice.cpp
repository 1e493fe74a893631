// A flash channel's attention slice as a kernel. Its streams carry what the RTL block's carry.
#include "attention_slice_top.hpp"

using namespace nandu;

void attention_slice(count_t commands, count_t scale_value[QUERIES], int scale_exponent[QUERIES],
                     hls::stream<command_payload_t>& i_command,
                     hls::stream<query_payload_t>& i_query, hls::stream<element_payload_t>& i,
                     hls::stream<approximate_payload_t>& o_approximate,
                     hls::stream<partial_payload_t>& o_partial) {
#pragma HLS INTERFACE s_axilite port=return
#pragma HLS INTERFACE s_axilite port=commands
#pragma HLS INTERFACE s_axilite port=scale_value
#pragma HLS INTERFACE s_axilite port=scale_exponent
#pragma HLS INTERFACE axis port=i_command
#pragma HLS INTERFACE axis port=i_query
#pragma HLS INTERFACE axis port=i
#pragma HLS INTERFACE axis port=o_approximate
#pragma HLS INTERFACE axis port=o_partial
    static Slice slice;
// All queries and lanes of a beat are worked on at once.
#pragma HLS ARRAY_PARTITION variable=slice.queries dim=1 complete
#pragma HLS ARRAY_PARTITION variable=slice.queries dim=2 complete
#pragma HLS ARRAY_PARTITION variable=slice.queries dim=4 complete
#pragma HLS ARRAY_PARTITION variable=slice.scores complete
#pragma HLS ARRAY_PARTITION variable=slice.approximate dim=1 complete
#pragma HLS ARRAY_PARTITION variable=slice.approximate dim=2 complete
#pragma HLS ARRAY_PARTITION variable=slice.approximate dim=4 complete
#pragma HLS ARRAY_PARTITION variable=slice.bins complete
#pragma HLS ARRAY_PARTITION variable=slice.weights dim=2 complete
#pragma HLS ARRAY_PARTITION variable=slice.mixed dim=1 complete
#pragma HLS ARRAY_PARTITION variable=slice.mixed dim=4 complete
#pragma HLS ARRAY_PARTITION variable=slice.pages complete
    for (count_t number = 0; number < commands; number = number + 1) {
        command_payload_t payload = i_command.read();
        const int kind = int(take<2>(payload));
        const int pages = int(take<PAGE_COUNT_BITS>(payload));
        const int bank = int(take<SPAN_BITS>(payload)) & 1;
        const int tokens = int(take<SPAN_SIZE_BITS>(payload));
        if (kind == BEGIN) {
            begin(slice, i_query);
        } else {
            take_pages(slice, kind == SPAN ? bank : PAIRS, pages, scale_value, scale_exponent, i);
            if (kind == SPAN) give_span(slice, bank, tokens, o_approximate);
            else give_partial(slice, o_partial);
        }
    }
}
