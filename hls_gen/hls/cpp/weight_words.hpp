// Takes a chain's weight stream apart: words of memory in, the engine's streams out.
//
// The words are those that a core reads from a channel (hw/weight_stream.py): a header word tells
// the kinds of the words behind it, four bits each, and then follows the next header.
#ifndef NANDU_WEIGHT_WORDS_HPP
#define NANDU_WEIGHT_WORDS_HPP

#include "matrix_engine.hpp"

namespace nandu {

typedef ap_uint<CHAINS * WORD_BITS> memory_word_t;  // a word of each chain, side by side
typedef ap_uint<LANES * 16> destination_payload_t;  // the strip whose rows come, in each lane

enum Kind { WEIGHTS = 1, SEGMENTS = 2, INDICES = 3, PASSES = 4, SCALES = 5, DESTINATIONS = 6 };

// The smallest power of two from BITS on.
template <int BITS>
struct Slot {
    static const int bits = 2 * Slot<(BITS + 1) / 2>::bits;
};
template <>
struct Slot<1> {
    static const int bits = 1;
};

// Writes the payloads of a word; a partial one has their number in its last slot.
template <int BITS>
void deal_slots(word_t word, bool partial, hls::stream<ap_uint<BITS>>& payloads) {
#pragma HLS INLINE
    const int bits = Slot<BITS>::bits;
    const int slots = WORD_BITS / bits;
    int count = slots;
    const int last = (slots - 1) * bits;
    if (partial) count = int(ap_uint<8>(word.range(last + 7, last)));
    for (int slot = 0; slot < count; ++slot) {
#pragma HLS PIPELINE II=1
        payloads.write(ap_uint<BITS>(word.range(BITS - 1, 0)));
        word >>= bits;
    }
}

inline void deal_words(hls::stream<word_t>& words, hls::stream<word_t>& weights,
                       hls::stream<segment_payload_t>& segments,
                       hls::stream<index_payload_t>& indices, hls::stream<pass_payload_t>& passes,
                       hls::stream<scale_payload_t>& scales,
                       hls::stream<destination_payload_t>& destinations, int count) {
    word_t kinds = 0;
    for (int number = 0; number < count; ++number) {
        const word_t word = words.read();
        const int kind = int(ap_uint<4>(kinds.range(3, 0)));
        kinds >>= 4;
        const bool partial = kind >= 8;
        switch (kind % 8) {
            case 0: kinds = word; break;
            case WEIGHTS: weights.write(word); break;
            case SEGMENTS: deal_slots(word, partial, segments); break;
            case INDICES: deal_slots(word, partial, indices); break;
            case PASSES: deal_slots(word, partial, passes); break;
            case SCALES: deal_slots(word, partial, scales); break;
            default: deal_slots(word, partial, destinations); break;
        }
    }
}

// Reads the memory of a matrix, one word for each chain at a time.
inline void read_words(const memory_word_t* memory, hls::stream<word_t> words[CHAINS], int count) {
    for (int number = 0; number < count; ++number) {
#pragma HLS PIPELINE II=1
        memory_word_t together = memory[number];
        for (int chain = 0; chain < CHAINS; ++chain) {
#pragma HLS UNROLL
            words[chain].write(word_t(together));
            together >>= WORD_BITS;
        }
    }
}

}  // namespace nandu

#endif
