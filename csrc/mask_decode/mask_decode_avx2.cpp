#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "plan.h"

#define SACCADE_ISA avx2

namespace saccade::mask_decode {
namespace {

struct V {
    __m256 left, right;
};

inline V load(const float* at) { return {_mm256_loadu_ps(at), _mm256_loadu_ps(at + 8)}; }
inline void store(float* at, V v) {
    _mm256_storeu_ps(at, v.left);
    _mm256_storeu_ps(at + 8, v.right);
}
inline V spread(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline __m256 mix(__m256 a, __m256 wa, __m256 b, __m256 wb, __m256 c, __m256 wc) { return (a * wa + b * wb) + c * wc; }
inline V mix(V a, V wa, V b, V wb, V c, V wc) {
    return {mix(a.left, wa.left, b.left, wb.left, c.left, wc.left),
            mix(a.right, wa.right, b.right, wb.right, c.right, wc.right)};
}
inline uint16_t joined(__m256 left, __m256 right) {
    return static_cast<uint16_t>(_mm256_movemask_ps(left) | _mm256_movemask_ps(right) << 8);
}
inline uint16_t above(V a, V b) {
    return joined(_mm256_cmp_ps(a.left, b.left, _CMP_GT_OQ), _mm256_cmp_ps(a.right, b.right, _CMP_GT_OQ));
}
inline __m256 within(__m256 a, __m256 low, __m256 high) {
    return _mm256_and_ps(_mm256_cmp_ps(a, low, _CMP_GE_OQ), _mm256_cmp_ps(a, high, _CMP_LE_OQ));
}
inline uint16_t within(V a, V low, V high) {
    return joined(within(a.left, low.left, high.left), within(a.right, low.right, high.right));
}

// Eight columns: where their taps lie within 8 floats, one load and three permutations; else gathers.
class Half {
  public:
    Half(const Plan& plan, int64_t x) {
        const int64_t last = plan.low_width - 1, room = plan.low_width - 8, begin = plan.x.first[x];
        const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(plan.x.first + x));
        const int64_t end = plan.x.first[x + 7] + TAPS;
        start = begin < room ? begin : room;
        permutes = start >= 0 && (end < last + 1 ? end : last + 1) - start <= 8;
        if (!permutes) start = 0;
        for (int t = 0; t < TAPS; ++t) {
            weights[t] = _mm256_loadu_ps(plan.x.weights[t] + x);
            const __m256i at = _mm256_add_epi32(first, _mm256_set1_epi32(t));
            const __m256i inside = _mm256_min_epi32(at, _mm256_set1_epi32(static_cast<int>(last)));
            index[t] = _mm256_sub_epi32(inside, _mm256_set1_epi32(static_cast<int>(start)));
        }
    }

    __m256 operator()(const float* row) const {
        __m256 taps[TAPS];
        if (permutes) {
            const __m256 window = _mm256_loadu_ps(row + start);
            for (int t = 0; t < TAPS; ++t) taps[t] = _mm256_permutevar8x32_ps(window, index[t]);
        } else {
            for (int t = 0; t < TAPS; ++t) taps[t] = _mm256_i32gather_ps(row, index[t], 4);
        }
        return mix(taps[0], weights[0], taps[1], weights[1], taps[2], weights[2]);
    }

  private:
    __m256 weights[TAPS];
    __m256i index[TAPS];
    int64_t start;
    bool permutes;
};

class Across {
  public:
    Across(const Plan& plan, int64_t x) : left(plan, x), right(plan, x + 8) {}
    V operator()(const float* row) const { return {left(row), right(row)}; }

  private:
    const Half left, right;
};

inline void transpose(const uint16_t* rows, uint64_t* columns, int64_t stride) {
    const __m256i byte = _mm256_set1_epi16(0xff);
    uint32_t words[STRIP][2];
    for (int half = 0; half < 2; ++half) {
        const __m256i* at = reinterpret_cast<const __m256i*>(rows + 32 * half);
        const __m256i a = _mm256_loadu_si256(at), b = _mm256_loadu_si256(at + 1);
        // packus works within 128 bits; the permutation puts the rows in order again
        __m256i low =
            _mm256_permute4x64_epi64(_mm256_packus_epi16(_mm256_and_si256(a, byte), _mm256_and_si256(b, byte)), 0xD8);
        __m256i high =
            _mm256_permute4x64_epi64(_mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8)), 0xD8);
        for (int c = 7; c >= 0; --c) {
            words[c][half] = static_cast<uint32_t>(_mm256_movemask_epi8(low));
            words[8 + c][half] = static_cast<uint32_t>(_mm256_movemask_epi8(high));
            low = _mm256_add_epi8(low, low);
            high = _mm256_add_epi8(high, high);
        }
    }
    for (int c = 0; c < STRIP; ++c) columns[c * stride] = uint64_t{words[c][1]} << 32 | words[c][0];
}

}  // namespace
}  // namespace saccade::mask_decode

#include "mask_decode.inc"
