// Test vectors for a kernel's C simulation: cases of inputs, and golden's outputs beside them.
//
// All is little-endian; a number has 64 bits. The file begins with the number of cases. A case is
// the length of its name, its name, and what goes into the kernel's ports, in their order:
//   an argument   its numbers
//   a stream      the number of payloads, the bytes of each, and the payloads
//   a memory      the same with its words
// Then follows in the same way what must come out: of streams, and of memories that it writes.
#ifndef NANDU_VECTOR_FILE_HPP
#define NANDU_VECTOR_FILE_HPP

#include <ap_int.h>
#include <hls_stream.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace nandu {

// What a case has compared with golden.
struct Comparison {
    long long compared = 0, mismatches = 0;
    void add(bool equal) {
        ++compared;
        if (!equal) ++mismatches;
    }
};

class VectorFile {
    std::FILE* file_;

   public:
    explicit VectorFile(const char* path) : file_(std::fopen(path, "rb")) {
        if (!file_) fail("the vectors cannot be opened");
    }
    ~VectorFile() { std::fclose(file_); }
    VectorFile(const VectorFile&) = delete;
    VectorFile& operator=(const VectorFile&) = delete;

    long long number() {
        unsigned char bytes[8];
        read(bytes, 8);
        unsigned long long value = 0;
        for (int i = 7; i >= 0; --i) value = value << 8 | bytes[i];
        return (long long)value;
    }

    std::string text() {
        std::string found((std::size_t)number(), ' ');
        if (!found.empty()) read((unsigned char*)&found[0], found.size());
        return found;
    }

    template <int W>
    std::vector<ap_uint<W>> payloads() {
        const long long count = number();
        const long long size = number();
        if (count != 0 && size != (W + 7) / 8) fail("a payload has not the bytes of its type");
        std::vector<unsigned char> bytes((std::size_t)(count * size));
        if (!bytes.empty()) read(bytes.data(), bytes.size());
        std::vector<ap_uint<W>> found((std::size_t)count);
        for (std::size_t i = 0; i < found.size(); ++i) {
            ap_uint<W> payload = 0;
            for (int low = 0; low < W; low += 8) {
                const int high = low + 7 < W ? low + 7 : W - 1;
                const int byte = bytes[i * (std::size_t)size + (std::size_t)(low / 8)];
                payload.range(high, low) = byte & ((2 << (high - low)) - 1);
            }
            found[i] = payload;
        }
        return found;
    }

    template <int W>
    void fill(hls::stream<ap_uint<W>>& stream) {
        for (const ap_uint<W>& payload : payloads<W>()) stream.write(payload);
    }

    // Too few or too many payloads are mismatches as well.
    template <int W>
    void compare(hls::stream<ap_uint<W>>& stream, Comparison& seen) {
        for (const ap_uint<W>& payload : payloads<W>()) {
            seen.add(!stream.empty() && equal<W>(stream.read(), payload));
        }
        for (; !stream.empty(); stream.read()) seen.add(false);
    }

    template <int W>
    void compare(const std::vector<ap_uint<W>>& memory, Comparison& seen) {
        const std::vector<ap_uint<W>> expected = payloads<W>();
        for (std::size_t i = 0; i < expected.size(); ++i) {
            seen.add(i < memory.size() && equal<W>(memory[i], expected[i]));
        }
    }

   private:
    template <int W>
    static bool equal(ap_uint<W> one, ap_uint<W> other) {
        for (int low = 0; low < W; low += 32) {
            const int high = low + 31 < W ? low + 31 : W - 1;
            const unsigned long long mine = one.range(high, low);
            const unsigned long long golden = other.range(high, low);
            if (mine != golden) return false;
        }
        return true;
    }

    void read(unsigned char* bytes, std::size_t count) {
        if (std::fread(bytes, 1, count, file_) != count) fail("the vectors end too early");
    }

    [[noreturn]] static void fail(const char* why) {
        std::fprintf(stderr, "%s\n", why);
        std::exit(2);
    }
};

// Runs all cases of the file that is named, or of vectors.bin; returns 0 if all are golden's.
inline int run_cases(int argc, char** argv, Comparison (*run)(VectorFile&)) {
    VectorFile file(argc > 1 ? argv[1] : "vectors.bin");
    const long long cases = file.number();
    bool passed = cases > 0;
    for (long long number = 0; number < cases; ++number) {
        const std::string name = file.text();
        const Comparison seen = run(file);
        passed = passed && seen.compared > 0 && seen.mismatches == 0;
        std::printf("%lld of %lld equal golden: %s\n", seen.compared - seen.mismatches,
                    seen.compared, name.c_str());
    }
    return passed ? 0 : 1;
}

}  // namespace nandu

#endif
