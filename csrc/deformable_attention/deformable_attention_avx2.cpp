#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "plan.h"
#include "saccade/dtype.h"

#define SACCADE_OP deformable_attention
#define SACCADE_ISA avx2

namespace saccade::deformable_attention {
namespace {

using V = __m256;
using M = __m256;
using I = __m256i;
constexpr int LANES = 8, CHAINS = 2;

inline V load(const float* at) { return _mm256_loadu_ps(at); }
inline void store(float* at, V v) { _mm256_storeu_ps(at, v); }
inline V spread(float x) { return _mm256_set1_ps(x); }
inline V fused(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V floored(V v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline M from(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
inline M below(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
inline M both(M a, M b) { return _mm256_and_ps(a, b); }
inline M either(M a, M b) { return _mm256_or_ps(a, b); }
inline V kept(M m, V v) { return _mm256_and_ps(m, v); }
inline I load_whole(const int32_t* at) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }
inline I spread_whole(int32_t x) { return _mm256_set1_epi32(x); }
inline I whole(V v) { return _mm256_cvttps_epi32(v); }
inline I plus(I a, I b) { return _mm256_add_epi32(a, b); }
inline I times(I a, I b) { return _mm256_mullo_epi32(a, b); }
inline I chosen(M m, I a, I b) { return _mm256_blendv_epi8(b, a, _mm256_castps_si256(m)); }
inline void fetch(const char* at) { _mm_prefetch(at, _MM_HINT_T0); }
inline V widened(const uint16_t* at) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))); }
inline void narrowed(uint16_t* at, V v) {
    const __m128i halves = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(at), halves);
}

inline __m256d quarters(V v) {
    return _mm256_castsi256_pd(_mm256_permute4x64_epi64(_mm256_castps_si256(v), _MM_SHUFFLE(3, 1, 2, 0)));
}
inline void pairs(const float* at, V& x, V& y) {
    const V low = load(at), high = load(at + LANES);
    x = _mm256_castpd_ps(quarters(_mm256_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0))));
    y = _mm256_castpd_ps(quarters(_mm256_shuffle_ps(low, high, _MM_SHUFFLE(3, 1, 3, 1))));
}

// Within each half of a register, then the halves.
inline void four(float* at, V a, V b, V c, V d) {
    const V ab = _mm256_unpacklo_ps(a, b), cd = _mm256_unpacklo_ps(c, d);
    const V ab2 = _mm256_unpackhi_ps(a, b), cd2 = _mm256_unpackhi_ps(c, d);
    const V r0 = _mm256_shuffle_ps(ab, cd, 0x44), r1 = _mm256_shuffle_ps(ab, cd, 0xee);
    const V r2 = _mm256_shuffle_ps(ab2, cd2, 0x44), r3 = _mm256_shuffle_ps(ab2, cd2, 0xee);
    store(at, _mm256_permute2f128_ps(r0, r1, 0x20));
    store(at + 8, _mm256_permute2f128_ps(r2, r3, 0x20));
    store(at + 16, _mm256_permute2f128_ps(r0, r1, 0x31));
    store(at + 24, _mm256_permute2f128_ps(r2, r3, 0x31));
}
inline void four(int32_t* at, I a, I b, I c, I d) {
    four(reinterpret_cast<float*>(at), _mm256_castsi256_ps(a), _mm256_castsi256_ps(b), _mm256_castsi256_ps(c),
         _mm256_castsi256_ps(d));
}

}  // namespace
}  // namespace saccade::deformable_attention

#include "../convert.inc"
#include "deformable_attention.inc"
