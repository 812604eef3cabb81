#include <immintrin.h>
#include <stdint.h>

#include "plan.h"

#define SACCADE_ISA avx2

namespace saccade::peaks {
namespace {

using V = __m256;
constexpr int LANES = 8;

inline V load(const float* at) { return _mm256_loadu_ps(at); }
inline void store(float* at, V v) { _mm256_storeu_ps(at, v); }
inline V spread(float x) { return _mm256_set1_ps(x); }
inline V plus(V a, V b) { return _mm256_add_ps(a, b); }
inline V fused(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline float sum(V v) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

}  // namespace
}  // namespace saccade::peaks

#include "no_dot.inc"
#include "peaks.inc"
