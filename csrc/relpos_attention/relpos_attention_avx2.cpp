#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "plan.h"
#include "saccade/dtype.h"

#define SACCADE_OP relpos_attention
#define SACCADE_ISA avx2

namespace saccade::relpos_attention {
namespace {

using V = __m256;
constexpr int LANES = 8, WIDE = 2;
constexpr float LEAST = -127.0f;  // 2^-127 has the bits of 0 below

struct Power {
    __m256i whole;
    V rest;
};

inline V load(const float* at) { return _mm256_loadu_ps(at); }
inline void store(float* at, V v) { _mm256_storeu_ps(at, v); }
inline V spread(float x) { return _mm256_set1_ps(x); }
inline V fused(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V most(V a, V b) { return _mm256_max_ps(a, b); }
inline bool above(V a, V b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0; }
inline Power split(V x) {
    const V whole = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return {_mm256_cvtps_epi32(whole), x - whole};
}
inline V scaled(V p, __m256i whole) {
    const __m256i bits = _mm256_slli_epi32(_mm256_add_epi32(whole, _mm256_set1_epi32(127)), 23);
    return p * _mm256_castsi256_ps(bits);
}
inline V widened(const uint16_t* at) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))); }
inline void narrowed(uint16_t* at, V v) {
    const __m128i halves = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(at), halves);
}

}  // namespace
}  // namespace saccade::relpos_attention

#include "../convert.inc"
#include "relpos_attention.inc"
