#include <math.h>
#include <stdint.h>
#include <string.h>

#include "plan.h"

#define SACCADE_ISA base

// The compiler's own vectors: SSE, NEON or whatever the CPU has.
namespace saccade::mask_decode {
namespace {

typedef float Quad __attribute__((vector_size(16)));
typedef int32_t Bits __attribute__((vector_size(16)));
struct V {
    Quad part[4];
};

inline V load(const float* at) {
    V v;
    memcpy(&v, at, sizeof v);
    return v;
}
inline void store(float* at, const V& v) { memcpy(at, &v, sizeof v); }
inline V spread(float x) {
    const Quad q{x, x, x, x};
    return {{q, q, q, q}};
}
inline V mix(const V& a, const V& wa, const V& b, const V& wb, const V& c, const V& wc) {
    V v;
    for (int i = 0; i < 4; ++i) v.part[i] = (a.part[i] * wa.part[i] + b.part[i] * wb.part[i]) + c.part[i] * wc.part[i];
    return v;
}

inline uint16_t gathered(const Bits* true_) {
    const Bits place{1, 2, 4, 8};
    const Bits all = (true_[0] & place) | (true_[1] & place << 4) | (true_[2] & place << 8) | (true_[3] & place << 12);
    return static_cast<uint16_t>(all[0] | all[1] | all[2] | all[3]);
}
inline uint16_t above(const V& a, const V& b) {
    Bits m[4];
    for (int i = 0; i < 4; ++i) m[i] = a.part[i] > b.part[i];
    return gathered(m);
}
inline uint16_t within(const V& a, const V& low, const V& high) {
    Bits m[4];
    for (int i = 0; i < 4; ++i) m[i] = (a.part[i] >= low.part[i]) & (a.part[i] <= high.part[i]);
    return gathered(m);
}

class Across {
  public:
    Across(const Plan& plan, int64_t x) {
        for (int t = 0; t < TAPS; ++t) {
            weights[t] = load(plan.x.weights[t] + x);
            for (int c = 0; c < STRIP; ++c) {
                const int64_t at = plan.x.first[x + c] + t;
                index[t][c] = at < plan.low_width ? at : plan.low_width - 1;
            }
        }
    }

    V operator()(const float* row) const {
        float taps[TAPS][STRIP];
        for (int t = 0; t < TAPS; ++t)
            for (int c = 0; c < STRIP; ++c) taps[t][c] = row[index[t][c]];
        return mix(load(taps[0]), weights[0], load(taps[1]), weights[1], load(taps[2]), weights[2]);
    }

  private:
    V weights[TAPS];
    int64_t index[TAPS][STRIP];
};

// Eight rows of eight bits to eight columns (Warren, Hacker's Delight, 7-3).
inline uint64_t transpose8(uint64_t x) {
    uint64_t t = (x ^ x >> 7) & 0x00AA00AA00AA00AA;
    x ^= t ^ t << 7;
    t = (x ^ x >> 14) & 0x0000CCCC0000CCCC;
    x ^= t ^ t << 14;
    t = (x ^ x >> 28) & 0x00000000F0F0F0F0;
    return x ^ t ^ t << 28;
}

inline void transpose(const uint16_t* rows, uint64_t* columns, int64_t stride) {
    for (int half = 0; half < 2; ++half) {
        uint64_t words[8] = {};
        for (int group = 0; group < 8; ++group) {
            uint64_t square = 0;
            for (int r = 0; r < 8; ++r)
                square |= uint64_t{static_cast<uint8_t>(rows[8 * group + r] >> 8 * half)} << 8 * r;
            square = transpose8(square);
            for (int c = 0; c < 8; ++c) words[c] |= (square >> 8 * c & 0xff) << 8 * group;
        }
        for (int c = 0; c < 8; ++c) columns[(8 * half + c) * stride] = words[c];
    }
}

}  // namespace
}  // namespace saccade::mask_decode

#include "mask_decode.inc"
