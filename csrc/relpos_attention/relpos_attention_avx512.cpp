#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "plan.h"
#include "saccade/dtype.h"

#define SACCADE_OP relpos_attention
#define SACCADE_ISA avx512

namespace saccade::relpos_attention {
namespace {

using V = __m512;
constexpr int LANES = 16, WIDE = 4;
constexpr float LEAST = -200.0f;

struct Power {
    V whole, rest;
};

inline V load(const float* at) { return _mm512_loadu_ps(at); }
inline void store(float* at, V v) { _mm512_storeu_ps(at, v); }
inline V spread(float x) { return _mm512_set1_ps(x); }
inline V fused(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V most(V a, V b) { return _mm512_max_ps(a, b); }
inline bool above(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0; }
inline Power split(V x) {
    const V whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return {whole, x - whole};
}
inline V scaled(V p, V whole) { return _mm512_scalef_ps(p, whole); }
inline V widened(const uint16_t* at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}
inline void narrowed(uint16_t* at, V v) {
    const __m256i halves = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), halves);
}

}  // namespace
}  // namespace saccade::relpos_attention

#include "../convert.inc"
#include "relpos_attention.inc"
