#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "plan.h"

#define SACCADE_ISA avx512

namespace saccade::mask_decode {
namespace {

using V = __m512;

inline V load(const float* at) { return _mm512_loadu_ps(at); }
inline void store(float* at, V v) { _mm512_storeu_ps(at, v); }
inline V spread(float x) { return _mm512_set1_ps(x); }
inline V mix(V a, V wa, V b, V wb, V c, V wc) { return (a * wa + b * wb) + c * wc; }
inline uint16_t above(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
inline uint16_t within(V a, V low, V high) {
    return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(a, low, _CMP_GE_OQ), a, high, _CMP_LE_OQ);
}

// Where the taps of 16 columns lie within 16 floats, one load and three permutations; else gathers.
class Across {
  public:
    Across(const Plan& plan, int64_t x) {
        const int64_t last = plan.low_width - 1, room = plan.low_width - STRIP, begin = plan.x.first[x];
        const __m512i first = _mm512_loadu_si512(plan.x.first + x);
        const int64_t end = plan.x.first[x + STRIP - 1] + TAPS;
        start = begin < room ? begin : room;
        permutes = start >= 0 && (end < last + 1 ? end : last + 1) - start <= STRIP;
        if (!permutes) start = 0;
        for (int t = 0; t < TAPS; ++t) {
            weights[t] = load(plan.x.weights[t] + x);
            const __m512i at = _mm512_add_epi32(first, _mm512_set1_epi32(t));
            const __m512i inside = _mm512_min_epi32(at, _mm512_set1_epi32(static_cast<int>(last)));
            index[t] = _mm512_sub_epi32(inside, _mm512_set1_epi32(static_cast<int>(start)));
        }
    }

    V operator()(const float* row) const {
        V taps[TAPS];
        if (permutes) {
            const V window = load(row + start);
            for (int t = 0; t < TAPS; ++t) taps[t] = _mm512_permutexvar_ps(index[t], window);
        } else {
            for (int t = 0; t < TAPS; ++t) taps[t] = _mm512_i32gather_ps(index[t], row, 4);
        }
        return mix(taps[0], weights[0], taps[1], weights[1], taps[2], weights[2]);
    }

  private:
    V weights[TAPS];
    __m512i index[TAPS];
    int64_t start;
    bool permutes;
};

inline void transpose(const uint16_t* rows, uint64_t* columns, int64_t stride) {
    const __m512i upper = _mm512_loadu_si512(rows), lower = _mm512_loadu_si512(rows + 32);
    for (int c = 0; c < STRIP; ++c) {
        const __m512i bit = _mm512_set1_epi16(static_cast<int16_t>(1 << c));
        columns[c * stride] = uint64_t{_mm512_test_epi16_mask(lower, bit)} << 32 | _mm512_test_epi16_mask(upper, bit);
    }
}

}  // namespace
}  // namespace saccade::mask_decode

#include "mask_decode.inc"
