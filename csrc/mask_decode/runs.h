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

    // The mask changes at pixel `at`, greater than any before; 0 is allowed for the first.
    void change(int64_t at) {
        if (text_.size() < static_cast<size_t>(size_) + MOST) text_.resize(2 * text_.size() + 4096);
        const int64_t length = at - at_;
        write(count_ > 2 ? length - two_before_ : length);
        two_before_ = before_;
        before_ = length;
        at_ = at;
        ++count_;
    }

    const char* text() const { return text_.data(); }
    int64_t size() const { return size_; }

  private:
    static constexpr size_t MOST = 13;  // characters of 64 bits

    void write(int64_t value) {
        for (bool more = true; more;) {
            int64_t bits = value & 31;
            value >>= 5;
            more = bits & 16 ? value != -1 : value != 0;
            if (more) bits |= 32;
            text_[static_cast<size_t>(size_++)] = static_cast<char>(bits + '0');
        }
    }

    std::vector<char> text_;
    int64_t size_ = 0, count_ = 0, at_ = 0, before_ = 0, two_before_ = 0;
};

}  // namespace saccade::mask_decode

#endif
