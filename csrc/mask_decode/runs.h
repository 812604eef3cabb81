// COCO's compressed run lengths, one run at a time.
#ifndef SACCADE_MASK_DECODE_RUNS_H
#define SACCADE_MASK_DECODE_RUNS_H

#include <stddef.h>
#include <stdint.h>

#include <vector>

namespace saccade::mask_decode {

// Runs of 0 and 1 in turn, the first of 0 and possibly empty, column after column. A run is written as its length, from
// the fourth on as the difference to the one two before: 5 bits a character, the lowest first, bit 5 says that more
// follow and the sign extends the last, from '0' on.
class Runs {
  public:
    void clear() { size_ = count_ = at_ = before_ = two_before_ = 0; }

    // The mask changes at each pixel base + at[i], ascending and after all before; 0 is allowed for the first of all.
    void change(const uint32_t* at, int64_t count, int64_t base) {
        const size_t room = static_cast<size_t>(size_) + static_cast<size_t>(count) * MOST;
        if (text_.size() < room) text_.resize(2 * room + 4096);
        char* to = text_.data() + size_;
        for (int64_t i = 0; i < count; ++i) {
            const int64_t length = base + at[i] - at_;
            to = write(to, count_ > 2 ? length - two_before_ : length);
            two_before_ = before_;
            before_ = length;
            at_ = base + at[i];
            ++count_;
        }
        size_ = to - text_.data();
    }

    const char* text() const { return text_.data(); }
    int64_t size() const { return size_; }

  private:
    static constexpr size_t MOST = 8;  // characters of a run: 7 for 32 bits and a sign, and one written in vain

    static char* write(char* to, int64_t value) {
        if (value >= -512 && value < 512) {  // nearly all; without a branch on their number, which is hard to predict
            const int more = value < -16 || value > 15;
            to[0] = static_cast<char>((value & 31) + 32 * more + '0');
            to[1] = static_cast<char>((value >> 5 & 31) + '0');
            return to + 1 + more;
        }
        for (bool more = true; more;) {
            int64_t bits = value & 31;
            value >>= 5;
            more = bits & 16 ? value != -1 : value != 0;
            *to++ = static_cast<char>((more ? bits | 32 : bits) + '0');
        }
        return to;
    }

    std::vector<char> text_;
    int64_t size_ = 0, count_ = 0, at_ = 0, before_ = 0, two_before_ = 0;
};

}  // namespace saccade::mask_decode

#endif
