// Integers of any width, for C simulation without Vitis HLS, which has a header of this name.
//
// It has what Nandu's kernels use and no more. A value of up to 63 bits is a long long that wraps
// around when it is assigned, so expressions are exact as long as they fit in 64 bits; the vendor's
// types grow instead, and give the same. Wider ones only hold bits: they are shifted and cut.
#ifndef NANDU_STAND_IN_AP_INT_H
#define NANDU_STAND_IN_AP_INT_H

template <int W>
class ap_int {
    static_assert(W >= 1 && W <= 64, "the stand-in's signed integers have 1 to 64 bits");
    long long value_ = 0;

   public:
    static const int width = W;
    ap_int() {}
    ap_int(long long value) : value_(wrapped(value)) {}
    template <int OTHER>
    ap_int(const ap_int<OTHER>& other) : value_(wrapped((long long)other)) {}
    operator long long() const { return value_; }
    ap_int& operator+=(long long other) { return *this = value_ + other; }
    ap_int& operator-=(long long other) { return *this = value_ - other; }

   private:
    static long long wrapped(long long value) {
        return (long long)((unsigned long long)value << (64 - W)) >> (64 - W);
    }
};

namespace stand_in {

// The bits from `low` to `high` of a wide value, to be read, or written to.
template <class WIDE>
class Range {
    WIDE& bits_;
    int high_, low_;

   public:
    Range(WIDE& bits, int high, int low) : bits_(bits), high_(high), low_(low) {}
    operator unsigned long long() const { return bits_.part(high_, low_); }
    Range& operator=(unsigned long long value) {
        bits_.set_part(high_, low_, value);
        return *this;
    }
};

template <int W, bool NARROW>
class Unsigned;

template <int W>
class Unsigned<W, true> {
    unsigned long long value_ = 0;

   public:
    Unsigned() {}
    Unsigned(long long value) : value_((unsigned long long)value & mask()) {}
    operator long long() const { return (long long)value_; }

    unsigned long long part(int high, int low) const {
        return (value_ >> low) & (~0ULL >> (63 - (high - low)));
    }
    void set_part(int high, int low, unsigned long long value) {
        const unsigned long long ones = ~0ULL >> (63 - (high - low));
        value_ = ((value_ & ~(ones << low)) | (value & ones) << low) & mask();
    }
    void shift_right(int by) { value_ >>= by; }

   private:
    static unsigned long long mask() { return ~0ULL >> (64 - W); }
};

template <int W>
class Unsigned<W, false> {
    static const int WORDS = (W + 63) / 64;
    unsigned long long words_[WORDS] = {};

   public:
    Unsigned() {}
    Unsigned(long long value) { words_[0] = (unsigned long long)value; }
    template <int OTHER>
    explicit Unsigned(const Unsigned<OTHER, false>& other) {
        for (int at = 0; at < W && at < OTHER; at += 64) {
            const int high = (at + 63 < OTHER ? at + 63 : OTHER - 1);
            set_part(high < W ? high : W - 1, at, other.part(high, at));
        }
    }

    // At most 64 bits at once.
    unsigned long long part(int high, int low) const {
        const int word = low / 64, bit = low % 64;
        unsigned long long value = words_[word] >> bit;
        if (bit != 0 && word + 1 < WORDS) value |= words_[word + 1] << (64 - bit);
        return value & (~0ULL >> (63 - (high - low)));
    }
    void set_part(int high, int low, unsigned long long value) {
        for (int at = low; at <= high; ++at) {
            const unsigned long long one = 1ULL << (at % 64);
            if ((value >> (at - low)) & 1) words_[at / 64] |= one;
            else words_[at / 64] &= ~one;
        }
    }
    void shift_right(int by) {
        const int skipped = by / 64, bit = by % 64;
        for (int word = 0; word < WORDS; ++word) {
            const int from = word + skipped;
            unsigned long long value = from < WORDS ? words_[from] >> bit : 0;
            if (bit != 0 && from + 1 < WORDS) value |= words_[from + 1] << (64 - bit);
            words_[word] = value;
        }
    }
};

}  // namespace stand_in

template <int W>
class ap_uint : public stand_in::Unsigned<W, (W < 64)> {
    typedef stand_in::Unsigned<W, (W < 64)> Base;

   public:
    static const int width = W;
    using Base::Base;
    ap_uint() {}
    stand_in::Range<Base> range(int high, int low) {
        return stand_in::Range<Base>(*this, high, low);
    }
    stand_in::Range<const Base> range(int high, int low) const {
        return stand_in::Range<const Base>(*this, high, low);
    }
    ap_uint& operator>>=(int by) {
        this->shift_right(by);
        return *this;
    }
};

#endif
