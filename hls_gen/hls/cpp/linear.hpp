// A linear layer on units of the matrix engine: INT8 in, wide elements out.
#ifndef NANDU_LINEAR_HPP
#define NANDU_LINEAR_HPP

#include "vector_functions.hpp"
#include "weight_words.hpp"

namespace nandu {

// Gives a token to all units, in both lanes, and says how often they work on it.
inline void give_token(const Product& product, hls::stream<byte_t>& bytes,
                       hls::stream<sweep_payload_t> sweeps[CHAINS],
                       hls::stream<activation_payload_t> activations[CHAINS]) {
    sweep_payload_t sweep = 0;
    put<SWEEP_BITS>(sweep, 0, product.columns - 1);
    put<16>(sweep, SWEEP_BITS, product.tiles - 1);
    put<SWEEP_BITS>(sweep, SWEEP_BITS + 16, product.columns_in_group - 1);
    for (int chain = 0; chain < CHAINS; ++chain) {
#pragma HLS UNROLL
        sweeps[chain].write(sweep);
    }
    for (int input = 0; input < product.columns * M; ++input) {
#pragma HLS PIPELINE II=1
        byte_t byte = 0;
        if (input < product.inputs) byte = bytes.read();
        activation_payload_t both = 0;
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            put<8>(both, 8 * lane, (long long)byte);
        }
        for (int chain = 0; chain < CHAINS; ++chain) {
#pragma HLS UNROLL
            activations[chain].write(both);
        }
    }
}

// Puts a chain's rows, dequantised, where they belong. All blocks are dense: with two lanes each
// has a strip of its own.
template <int ROWS>
void place_rows(const Product& product, int chain, Scalar scale, int shift,
                hls::stream<destination_payload_t>& destinations,
                hls::stream<output_payload_t>& outputs, wide_t placed[ROWS]) {
    for (int strip = 0; strip < product.strips[chain]; ++strip) {
        const destination_payload_t destination = destinations.read();
        for (int row = 0; row < CHAIN_LENGTH; ++row) {
#pragma HLS PIPELINE II=2
            output_payload_t output = outputs.read();
            destination_payload_t strips = destination;
            for (int lane = 0; lane < LANES; ++lane) {
                const int place = int(take<16>(strips)) * CHAIN_LENGTH + row;
                const wide_t value = take_signed<OUTPUT_BITS>(output);
                if (place < ROWS) placed[place] = multiply_scalar(value, scale, shift);
            }
        }
    }
}

template <int ROWS>
void collect_outputs(const Product& product, hls::stream<scalar_payload_t>& scales, int shift,
                     hls::stream<destination_payload_t> destinations[CHAINS],
                     hls::stream<output_payload_t> outputs[CHAINS], hls::stream<slot_t>& y) {
    const Scalar scale = unpack_scalar(scales.read());
    wide_t placed[ROWS];
    for (int chain = 0; chain < CHAINS; ++chain) {
#pragma HLS UNROLL
        place_rows<ROWS>(product, chain, scale, shift, destinations[chain], outputs[chain],
                         placed);
    }
    for (int row = 0; row < ROWS; ++row) {
#pragma HLS PIPELINE II=1
        write_wide(y, placed[row]);
    }
}

template <int ROWS>
void linear(const Product& product, const memory_word_t* memory, int shift,
            hls::stream<byte_t>& bytes, hls::stream<scalar_payload_t>& scale,
            hls::stream<slot_t>& y) {
#pragma HLS DATAFLOW
    hls::stream<word_t> words[CHAINS];
#pragma HLS STREAM variable=words depth=16
    hls::stream<word_t> weights[CHAINS];
#pragma HLS STREAM variable=weights depth=WEIGHT_DEPTH
    hls::stream<segment_payload_t> segments[CHAINS];
    hls::stream<index_payload_t> indices[CHAINS];
    hls::stream<pass_payload_t> passes[CHAINS];
#pragma HLS STREAM variable=passes depth=PASS_DEPTH
    hls::stream<scale_payload_t> scales[CHAINS];
#pragma HLS STREAM variable=scales depth=64
    hls::stream<destination_payload_t> destinations[CHAINS];
#pragma HLS STREAM variable=destinations depth=64
    hls::stream<sweep_payload_t> sweeps[CHAINS];
    hls::stream<activation_payload_t> activations[CHAINS];
    hls::stream<output_payload_t> outputs[CHAINS];
#pragma HLS STREAM variable=outputs depth=ROWS
    read_words(memory, words, product.words);
    give_token(product, bytes, sweeps, activations);
    for (int chain = 0; chain < CHAINS; ++chain) {
#pragma HLS UNROLL
        deal_words(words[chain], weights[chain], segments[chain], indices[chain], passes[chain],
                   scales[chain], destinations[chain], product.words);
        engine_unit(1, 1, product.tiles, product.passes[chain], product.beats[chain],
                    product.scales[chain], sweeps[chain], activations[chain], segments[chain],
                    weights[chain], indices[chain], passes[chain], scales[chain], outputs[chain]);
    }
    collect_outputs<ROWS>(product, scale, shift, destinations, outputs, y);
}

}  // namespace nandu

#endif
