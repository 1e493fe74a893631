// Streams for C simulation without Vitis HLS, whose header of this name is used there.
//
// A stream holds any number of elements. Reading an empty one ends the simulation: in hardware the
// reader would wait for ever. So does a stream that is left with elements: there its writer would.
#ifndef NANDU_STAND_IN_HLS_STREAM_H
#define NANDU_STAND_IN_HLS_STREAM_H

#include <cstdio>
#include <cstdlib>
#include <deque>

namespace hls {

template <typename T, int DEPTH = 0>
class stream {
    std::deque<T> elements_;

   public:
    stream() {}
    explicit stream(const char*) {}
    ~stream() {
        if (!elements_.empty()) end("a stream is left with elements that nothing reads");
    }
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;

    bool empty() const { return elements_.empty(); }
    T read() {
        if (elements_.empty()) end("a stream is read that nothing is written to any more");
        const T element = elements_.front();
        elements_.pop_front();
        return element;
    }
    void read(T& element) { element = read(); }
    void write(const T& element) { elements_.push_back(element); }

   private:
    [[noreturn]] static void end(const char* why) {
        std::fprintf(stderr, "%s\n", why);
        std::exit(2);
    }
};

}  // namespace hls

#endif
