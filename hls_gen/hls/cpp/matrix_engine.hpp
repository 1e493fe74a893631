// One unit of the matrix engine: a chain with its activation buffer, the expansion of its weights,
// accumulators, group scales and requantisation. docs/matrix-engine.md has a picture of it.
//
// Each function below is a part of that picture. They run at once, joined by streams.
#ifndef NANDU_MATRIX_ENGINE_HPP
#define NANDU_MATRIX_ENGINE_HPP

#include "engine_config.hpp"
#include "sparse_chain.hpp"

namespace nandu {

static const int EXPANDED = CHAIN_LENGTH * LANES;  // weights that are expanded at once

typedef ap_int<ACCUMULATOR_BITS> group_sum_t;
typedef ap_int<48> total_t;

typedef ap_uint<2 * SWEEP_BITS + 16> sweep_payload_t;
typedef ap_uint<35> segment_payload_t;
typedef ap_uint<WORD_BITS> word_t;
typedef ap_uint<CHAIN_LENGTH * INDEX_BITS> index_payload_t;
typedef ap_uint<LANES * (SCALE_BITS + 8) + 2> scale_payload_t;
typedef ap_uint<LANES * OUTPUT_BITS> output_payload_t;

struct Expanded {
    ap_int<8> weight[EXPANDED];
};

struct Indices {
    ap_uint<INDEX_BITS> index[CHAIN_LENGTH];
};

// The sums of a scale group's activations.
struct Offsets {
    ap_int<OFFSET_BITS> lane[LANES];
};

struct GroupSums {
    group_sum_t lane[LANES];
};

// What the rows of a strip's finished group have in common.
struct Tag {
    ap_uint<STRIP_BITS> strip;
    ap_uint<1> paired, end_group;
};

// The group sums of a row, or of a pair of rows, and their place in the global buffer.
struct StripRow {
    int place;
    ap_uint<1> end_group;
    GroupSums sums;
};

// Keeps the inputs of a job and gives them once per sweep; adds up those of each scale group. The
// first sweep goes on while they come.
inline void buffer_activations(hls::stream<sweep_payload_t>& i_sweep,
                               hls::stream<activation_payload_t>& i_activation,
                               hls::stream<Column>& columns, hls::stream<Offsets>& offsets,
                               count_t sweeps) {
    activation_payload_t buffer[ACTIVATION_DEPTH];
    for (count_t number = 0; number < sweeps; number = number + 1) {
        sweep_payload_t sweep = i_sweep.read();
        const int last_column = int(take<SWEEP_BITS>(sweep));
        const int last_time = int(take<16>(sweep));
        const int last_in_group = int(take<SWEEP_BITS>(sweep));
        for (int time = 0; time <= last_time; ++time) {
            Offsets sums;
            int in_group = 0;
            for (int number_of_column = 0; number_of_column <= last_column; ++number_of_column) {
                Column column;
#pragma HLS ARRAY_PARTITION variable=column.lane complete dim=0
                for (int input = 0; input < M; ++input) {
#pragma HLS PIPELINE II=1
                    const int place = number_of_column * M + input;
                    activation_payload_t payload;
                    if (time == 0) {
                        payload = i_activation.read();
                        buffer[place] = payload;
                    } else {
                        payload = buffer[place];
                    }
                    for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
                        const activation_t activation = take_signed<ACTIVATION_BITS>(payload);
                        column.lane[lane][input] = activation;
                        if (in_group == 0 && input == 0) sums.lane[lane] = 0;
                        sums.lane[lane] += activation;
                    }
                }
                columns.write(column);
                const bool group_done =
                    in_group == last_in_group || number_of_column == last_column;
                if (group_done) offsets.write(sums);
                in_group = group_done ? 0 : in_group + 1;
            }
        }
    }
}

// Takes the lowest weights of BITS bits each.
template <int BITS>
void expand_to(const ap_uint<2 * WORD_BITS>& held, Expanded& expanded) {
#pragma HLS INLINE
    for (int i = 0; i < EXPANDED; ++i) {
#pragma HLS UNROLL
        const ap_uint<BITS> field(held.range(i * BITS + BITS - 1, i * BITS));
        expanded.weight[i] = ap_int<BITS>((long long)field);
    }
}

// Words of packed weights in, 8-bit weights out. `held` has less than a beat and one word more.
inline void expand_weights(hls::stream<segment_payload_t>& i_segment, hls::stream<word_t>& i_word,
                           hls::stream<Expanded>& expanded, count_t segments) {
    for (count_t number = 0; number < segments; number = number + 1) {
        segment_payload_t segment = i_segment.read();
        const int bits = int(take<3>(segment)) + 1;
        const count_t last_beat = count_t((long long)take<32>(segment));
        const int needed = bits * EXPANDED;
        ap_uint<2 * WORD_BITS> held = 0;
        int filled = 0;
        for (count_t beat = 0; beat <= last_beat; beat = beat + 1) {
#pragma HLS PIPELINE II=1
            if (filled < needed) {
                const word_t word = i_word.read();
                for (int byte = 0; byte < WORD_BITS / 8; ++byte) {
#pragma HLS UNROLL
                    const int low = filled + 8 * byte;
                    held.range(low + 7, low) = ap_uint<8>(word.range(8 * byte + 7, 8 * byte));
                }
                filled += WORD_BITS;
            }
            Expanded weights;
            switch (bits) {
                case 2: expand_to<2>(held, weights); break;
                case 3: expand_to<3>(held, weights); break;
                case 4: expand_to<4>(held, weights); break;
                case 5: expand_to<5>(held, weights); break;
                case 6: expand_to<6>(held, weights); break;
                default: expand_to<8>(held, weights); break;
            }
            expanded.write(weights);
            held >>= needed;
            filled -= needed;
        }
    }
}

// Joins weights, indices and passes to the chain's beats. A beat of a pass of two rows has all that
// is expanded at once; else it is enough for LANES beats.
inline void feed_beats(hls::stream<pass_payload_t>& i_pass, hls::stream<index_payload_t>& i_index,
                       hls::stream<Expanded>& expanded, hls::stream<pass_payload_t>& passes,
                       hls::stream<Weights>& beats, hls::stream<Tag>& tags,
                       count_t matrix_vector, count_t count) {
    Pass pass;
    Expanded weights;
    int j = 0;
    for (count_t beat = 0; beat < count; beat = beat + 1) {
#pragma HLS PIPELINE II=1
        if (j == 0) {
            const pass_payload_t payload = i_pass.read();
            passes.write(payload);
            pass = unpack_pass(payload);
            if (pass.last == 1) {
                Tag tag;
                tag.strip = pass.strip;
                tag.paired = matrix_vector == 1 && PAIRS_ROWS == 1 && pass.two_rows == 0;
                tag.end_group = pass.end_group;
                tags.write(tag);
            }
        }
        const int part = pass.two_rows == 1 ? 0 : j % LANES;
        if (part == 0) weights = expanded.read();
        index_payload_t indices = 0;
        if (pass.dense == 0) indices = i_index.read();
        Weights given;
        for (int i = 0; i < CHAIN_LENGTH; ++i) {
#pragma HLS UNROLL
            const ap_uint<INDEX_BITS> index = take<INDEX_BITS>(indices);
            given.value[i] = weights.weight[part * CHAIN_LENGTH + i];
            given.second[i] = (long long)index;
            if (pass.two_rows == 1) {
                // The second row's weight takes the index's place.
                given.second[i] = (long long)weights.weight[EXPANDED - CHAIN_LENGTH + i];
            }
        }
        beats.write(given);
        j = j + 1 == GROUP_LENGTH << int(pass.code) ? 0 : j + 1;
    }
}

// Adds the sums of a strip's passes to the sum of a scale group, for the rows of one DSP group.
inline void accumulate(hls::stream<RowSum>& sums, hls::stream<GroupSums>& finished,
                       count_t passes) {
    GroupSums bank[STRIPS * GROUP_LENGTH];
    const count_t rows = passes * GROUP_LENGTH;
    for (count_t number = 0; number < rows; number = number + 1) {
#pragma HLS PIPELINE II=1
// A row comes again when the others of its group have come, at the earliest.
#pragma HLS DEPENDENCE variable=bank inter RAW distance=GROUP_LENGTH true
        const RowSum sum = sums.read();
        const int place = int(sum.strip) * GROUP_LENGTH + int(sum.row);
        GroupSums total;
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            total.lane[lane] = sum.lane[lane];
            if (sum.first == 0) total.lane[lane] += bank[place].lane[lane];
        }
        bank[place] = total;
        if (sum.last == 1) finished.write(total);
    }
}

// Reads from one of the streams; a stream's number must be known when hardware is made.
inline GroupSums read_from(hls::stream<GroupSums> finished[GROUPS], int wanted) {
#pragma HLS INLINE
    GroupSums found;
    for (int group = 0; group < GROUPS; ++group) {
#pragma HLS UNROLL
        if (group == wanted) found = finished[group].read();
    }
    return found;
}

// Brings the rows of all banks into one stream; or pairs of rows, of a strip's two halves.
inline void collect_rows(hls::stream<GroupSums> finished[GROUPS], hls::stream<Tag>& tags,
                         hls::stream<StripRow>& rows, count_t count) {
    Tag tag;
    int row = 0;
    for (count_t number = 0; number < count; number = number + 1) {
#pragma HLS PIPELINE II=1
        if (row == 0) tag = tags.read();
        const bool paired = tag.paired == 1;
        StripRow found;
        found.sums = read_from(finished, row / GROUP_LENGTH);
        if (paired) {
            const int other = row + CHAIN_LENGTH / 2;
            const GroupSums second = read_from(finished, other / GROUP_LENGTH);
            found.sums.lane[LANES - 1] = second.lane[LANES - 1];
        }
        const int last = paired ? CHAIN_LENGTH / 2 - 1 : CHAIN_LENGTH - 1;
        found.place = int(tag.strip) * CHAIN_LENGTH + row;
        found.end_group = tag.end_group == 1 && row == last;
        rows.write(found);
        row = row == last ? 0 : row + 1;
    }
}

// total += scale * (sum - zero * offset); a row's last group gives its output.
inline void scale_groups(hls::stream<StripRow>& rows, hls::stream<Offsets>& offsets,
                         hls::stream<scale_payload_t>& i_scale, hls::stream<output_payload_t>& o,
                         count_t count) {
    total_t totals[STRIPS * CHAIN_LENGTH][LANES];
#pragma HLS ARRAY_PARTITION variable=totals complete dim=2
    Offsets offset;
    bool group_done = true;
    for (count_t number = 0; number < count; number = number + 1) {
#pragma HLS PIPELINE II=1
// A pair of rows comes again when the others of its strip have come, at the earliest.
#pragma HLS DEPENDENCE variable=totals inter RAW distance=4 true
        if (group_done) offset = offsets.read();
        const StripRow row = rows.read();
        group_done = row.end_group == 1;
        scale_payload_t payload = i_scale.read();
        ap_uint<SCALE_BITS> scales[LANES];
        ap_int<8> zeros[LANES];
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            scales[lane] = take<SCALE_BITS>(payload);
        }
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            zeros[lane] = take_signed<8>(payload);
        }
        const bool first = take<1>(payload) == 1;
        const bool last = take<1>(payload) == 1;
        output_payload_t outputs = 0;
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            const ap_int<27> raised = ap_int<27>(row.sums.lane[lane]) * (1 << ZERO_FRACTION_BITS);
            const ap_int<27> value = raised - zeros[lane] * offset.lane[lane];
            total_t total = scales[lane] * value;
            if (!first) total += totals[row.place][lane];
            totals[row.place][lane] = total;
            const ap_int<50> rounded = shift_round(ap_int<50>(total), ap_uint<6>(SCALE_SHIFT));
            put<OUTPUT_BITS>(outputs, lane * OUTPUT_BITS,
                             (long long)saturate<OUTPUT_BITS>(rounded));
        }
        if (last) o.write(outputs);
    }
}

// A unit of the engine, and how much it has to do in one call.
inline void engine_unit(count_t matrix_vector, count_t sweeps, count_t segments, count_t passes,
                        count_t beats, count_t rows, hls::stream<sweep_payload_t>& i_sweep,
                        hls::stream<activation_payload_t>& i_activation,
                        hls::stream<segment_payload_t>& i_segment, hls::stream<word_t>& i_word,
                        hls::stream<index_payload_t>& i_index,
                        hls::stream<pass_payload_t>& i_pass,
                        hls::stream<scale_payload_t>& i_scale,
                        hls::stream<output_payload_t>& o) {
#pragma HLS DATAFLOW
    hls::stream<Column> columns("columns");
#pragma HLS STREAM variable=columns depth=2
    hls::stream<Offsets> offsets("offsets");
#pragma HLS STREAM variable=offsets depth=4
    hls::stream<Expanded> expanded("expanded");
    hls::stream<pass_payload_t> started("started");
#pragma HLS STREAM variable=started depth=PASS_DEPTH
    hls::stream<Weights> weights("weights");
    hls::stream<Tag> tags("tags");
#pragma HLS STREAM variable=tags depth=32
    hls::stream<RowSum> sums[GROUPS];
#pragma HLS STREAM variable=sums depth=4
    hls::stream<GroupSums> finished[GROUPS];
#pragma HLS STREAM variable=finished depth=FINISHED_DEPTH
    hls::stream<StripRow> collected("collected");
    buffer_activations(i_sweep, i_activation, columns, offsets, sweeps);
    expand_weights(i_segment, i_word, expanded, segments);
    feed_beats(i_pass, i_index, expanded, started, weights, tags, matrix_vector, beats);
    multiply(columns, started, weights, sums, beats);
    for (int group = 0; group < GROUPS; ++group) {
#pragma HLS UNROLL
        accumulate(sums[group], finished[group], passes);
    }
    collect_rows(finished, tags, collected, rows);
    scale_groups(collected, offsets, i_scale, o, rows);
}

}  // namespace nandu

#endif
