// The k largest of many scores: runs are sorted, the best ones so far kept, and what is chosen is
// marked, so that indices come in ascending order. Of equal scores the lower index goes first.
//
// It is built as storage_engine/arg_top_k.py is: a score per lane and cycle, with as many
// comparators as k has bits, and memories instead of registers.
#ifndef NANDU_ARG_TOP_K_HPP
#define NANDU_ARG_TOP_K_HPP

#include "arg_top_k_config.hpp"
#include "integers.hpp"

namespace nandu {

typedef ap_uint<COUNT_BITS + K_BITS> job_payload_t;  // number of scores, most that are kept
typedef ap_uint<LANES * SCORE_BITS> beat_payload_t;  // a score of each lane
typedef ap_uint<INDEX_BITS + 1> index_payload_t;     // an index, and whether it is the last
typedef ap_uint<INDEX_BITS> index_t;

static const int WORD_BITS = 32;  // of the marks

struct Entry {
    ap_int<SCORE_BITS> score;
    index_t index;
};

inline bool goes_first(Entry one, Entry other) {
#pragma HLS INLINE
    return one.score > other.score || (one.score == other.score && one.index < other.index);
}

// Scores of all lanes with their indices. A last run is filled up with the least score and indices
// that are above all others, so that nothing of it is ever chosen.
inline void enter(count_t jobs, hls::stream<job_payload_t>& i_job, hls::stream<beat_payload_t>& i,
                  hls::stream<Entry> entries[LANES], hls::stream<ap_uint<1> > ends[LANES],
                  hls::stream<count_t>& to_choose, hls::stream<count_t>& to_give) {
    for (count_t job = 0; job < jobs; job = job + 1) {
        job_payload_t payload = i_job.read();
        const int count = int(take<COUNT_BITS>(payload));
        const int most = int(take<K_BITS>(payload));
        to_choose.write(count < most ? count : most);
        to_give.write(count < most ? count : most);
        const int beats = (count + LANES - 1) / LANES;
        const int runs = (beats + RUN - 1) / RUN;
        for (int run = 0; run < runs; ++run) {
            for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
                ends[lane].write(run == runs - 1 ? 1 : 0);
            }
            for (int n = 0; n < RUN; ++n) {
#pragma HLS PIPELINE II=1
                const int beat = run * RUN + n;
                beat_payload_t scores = 0;
                if (beat < beats) scores = i.read();
                for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
                    Entry entry;
                    entry.score = take_signed<SCORE_BITS>(scores);
                    entry.index = beat * LANES + lane;
                    if (beat * LANES + lane >= count) entry.score = -(1LL << (SCORE_BITS - 1));
                    entries[lane].write(entry);
                }
            }
        }
    }
}

// Sorted pieces of SIZE to two streams in turn.
template <int SIZE>
void deal(count_t runs, hls::stream<Entry>& given, hls::stream<Entry>& first,
          hls::stream<Entry>& second) {
    const count_t pairs = runs * (RUN / (2 * SIZE));
    for (count_t pair = 0; pair < pairs; pair = pair + 1) {
        for (int n = 0; n < 2 * SIZE; ++n) {
#pragma HLS PIPELINE II=1
            if (n < SIZE) first.write(given.read());
            else second.write(given.read());
        }
    }
}

// Two sorted pieces of SIZE to one.
template <int SIZE>
void merge(count_t runs, hls::stream<Entry>& first, hls::stream<Entry>& second,
           hls::stream<Entry>& merged) {
    const count_t pairs = runs * (RUN / (2 * SIZE));
    for (count_t pair = 0; pair < pairs; pair = pair + 1) {
        Entry one = first.read(), other = second.read();
        int ones = 1, others = 1;  // that were read; one more when the piece is through
        for (int n = 0; n < 2 * SIZE; ++n) {
#pragma HLS PIPELINE II=1
            if (others > SIZE || (ones <= SIZE && goes_first(one, other))) {
                merged.write(one);
                if (ones < SIZE) one = first.read();
                ++ones;
            } else {
                merged.write(other);
                if (others < SIZE) other = second.read();
                ++others;
            }
        }
    }
}

// Runs whose pieces of SIZE are sorted to sorted runs.
template <int SIZE>
struct Sorter {
    static void sort(count_t runs, hls::stream<Entry>& given, hls::stream<Entry>& sorted) {
#pragma HLS DATAFLOW
        hls::stream<Entry> first("first"), second("second"), merged("merged");
// While a pair is merged, the next one's first piece comes in.
#pragma HLS STREAM variable=first depth=2*SIZE
#pragma HLS STREAM variable=second depth=2*SIZE
        deal<SIZE>(runs, given, first, second);
        merge<SIZE>(runs, first, second, merged);
        Sorter<2 * SIZE>::sort(runs, merged, sorted);
    }
};

template <>
struct Sorter<RUN> {
    static void sort(count_t runs, hls::stream<Entry>& given, hls::stream<Entry>& sorted) {
        for (count_t run = 0; run < runs; run = run + 1) {
            for (int n = 0; n < RUN; ++n) {
#pragma HLS PIPELINE II=1
                sorted.write(given.read());
            }
        }
    }
};

// A job's RUN best entries of a lane. While a run comes in, the one before is merged to them.
inline void keep_best(count_t runs, hls::stream<Entry>& sorted, hls::stream<ap_uint<1> >& ends,
                      hls::stream<Entry>& kept) {
    Entry run[2][RUN], best[2][RUN];
    int loading = 0, old = 0;
    bool is_first = true;  // of its job
    for (count_t step = 0; step <= runs; step = step + 1) {
        const bool loads = step < runs, merges = step > 0;
        bool is_last = false;
        if (merges) is_last = ends.read() == 1;
        int from_best = 0, from_run = 0;
        for (int n = 0; n < RUN; ++n) {
#pragma HLS PIPELINE II=1
            if (loads) run[loading][n] = sorted.read();
            if (merges) {
                Entry found = run[1 - loading][from_run];
                if (!is_first && goes_first(best[old][from_best], found)) {
                    found = best[old][from_best];
                    ++from_best;
                } else {
                    ++from_run;
                }
                best[1 - old][n] = found;
                if (is_last) kept.write(found);
            }
        }
        if (merges) {
            is_first = is_last;
            old = 1 - old;
        }
        loading = 1 - loading;
    }
}

// The indices of the largest of all lanes, the largest one first.
inline void choose(count_t jobs, hls::stream<count_t>& counts, hls::stream<Entry> kept[LANES],
                   hls::stream<index_t>& chosen) {
    Entry best[LANES][RUN];
#pragma HLS ARRAY_PARTITION variable=best dim=1 complete
    for (count_t job = 0; job < jobs; job = job + 1) {
        int at[LANES];
#pragma HLS ARRAY_PARTITION variable=at complete
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            at[lane] = 0;
        }
        for (int n = 0; n < RUN; ++n) {
#pragma HLS PIPELINE II=1
            for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
                best[lane][n] = kept[lane].read();
            }
        }
        const count_t count = counts.read();
        for (count_t number = 0; number < count; number = number + 1) {
#pragma HLS PIPELINE II=1
            int winner = 0;
            Entry found = best[0][at[0] < RUN ? at[0] : 0];
            bool is_left = at[0] < RUN;
            for (int lane = 1; lane < LANES; ++lane) {
#pragma HLS UNROLL
                if (at[lane] < RUN && (!is_left || goes_first(best[lane][at[lane]], found))) {
                    found = best[lane][at[lane]];
                    winner = lane;
                    is_left = true;
                }
            }
            at[winner] += 1;
            chosen.write(found.index);
        }
    }
}

// A job's indices in ascending order: they are marked, then the marks are gone through.
inline void give(count_t jobs, hls::stream<count_t>& counts, hls::stream<index_t>& chosen,
                 hls::stream<index_payload_t>& o) {
    ap_uint<WORD_BITS> marks[MAX_SCORES / WORD_BITS];
    for (int word = 0; word < MAX_SCORES / WORD_BITS; ++word) {
#pragma HLS PIPELINE II=1
        marks[word] = 0;
    }
    for (count_t job = 0; job < jobs; job = job + 1) {
        const int count = int(counts.read());
        for (int number = 0; number < count; ++number) {
#pragma HLS PIPELINE
            const int index = int(chosen.read());
            marks[index / WORD_BITS] = marks[index / WORD_BITS] | (1LL << (index % WORD_BITS));
        }
        int word = 0, left = count;
        ap_uint<WORD_BITS> bits = marks[0];
        while (left > 0) {
#pragma HLS PIPELINE
            if (bits == 0) {
                marks[word] = 0;
                ++word;
                bits = marks[word];
            } else {
                int lowest = 0;
                for (int bit = WORD_BITS - 1; bit >= 0; --bit) {
#pragma HLS UNROLL
                    if (((bits >> bit) & 1) == 1) lowest = bit;
                }
                bits = bits & (bits - 1);
                --left;
                index_payload_t payload = 0;
                put<INDEX_BITS>(payload, 0, word * WORD_BITS + lowest);
                put<1>(payload, INDEX_BITS, left == 0 ? 1 : 0);
                o.write(payload);
            }
        }
        marks[word] = 0;
    }
}

}  // namespace nandu

#endif
