// Scratch of one thread. For the checked entries only (see candidates.h).
#ifndef SACCADE_CSRC_ARENA_H
#define SACCADE_CSRC_ARENA_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace saccade {

inline int64_t up(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

// Scratch that a thread keeps: touching new memory costs more than a window's arithmetic.
class Arena {
  public:
    // Whether there is room for these many floats a part.
    template <size_t N>
    bool room(const std::array<int64_t, N>& parts, std::array<float*, N>& at) {
        int64_t all = 0;
        for (const int64_t part : parts) all += up(part, 16);
        if (all > size_) {
            size_ = 0;
            floats_.reset(static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>(all) * sizeof(float))));
            if (!floats_) return false;
            size_ = all;
        }
        float* next = floats_.get();
        for (size_t i = 0; i < N; ++i) {
            at[i] = next;
            next += up(parts[i], 16);
        }
        return true;
    }

  private:
    struct Free {
        void operator()(float* floats) const { std::free(floats); }
    };
    std::unique_ptr<float, Free> floats_;
    int64_t size_ = 0;
};

}  // namespace saccade

#endif
