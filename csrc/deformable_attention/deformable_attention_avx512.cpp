#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "plan.h"
#include "saccade/dtype.h"

#define SACCADE_OP deformable_attention
#define SACCADE_ISA avx512

namespace saccade::deformable_attention {
namespace {

using V = __m512;
using M = __mmask16;
using I = __m512i;
constexpr int LANES = 16, CHAINS = 4;

inline V load(const float* at) { return _mm512_loadu_ps(at); }
inline void store(float* at, V v) { _mm512_storeu_ps(at, v); }
inline V spread(float x) { return _mm512_set1_ps(x); }
inline V fused(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V floored(V v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline M from(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
inline M below(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
inline M both(M a, M b) { return static_cast<M>(a & b); }
inline M either(M a, M b) { return static_cast<M>(a | b); }
inline V kept(M m, V v) { return _mm512_maskz_mov_ps(m, v); }
inline I load_whole(const int32_t* at) { return _mm512_loadu_si512(at); }
inline I spread_whole(int32_t x) { return _mm512_set1_epi32(x); }
inline I whole(V v) { return _mm512_cvttps_epi32(v); }
inline I plus(I a, I b) { return _mm512_add_epi32(a, b); }
inline I times(I a, I b) { return _mm512_mullo_epi32(a, b); }
inline I chosen(M m, I a, I b) { return _mm512_mask_blend_epi32(m, b, a); }
inline void fetch(const char* at) { _mm_prefetch(at, _MM_HINT_T0); }
inline V widened(const uint16_t* at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}
inline void narrowed(uint16_t* at, V v) {
    const __m256i halves = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), halves);
}

inline void pairs(const float* at, V& x, V& y) {
    const I even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const V low = load(at), high = load(at + LANES);
    x = _mm512_permutex2var_ps(low, even, high);
    y = _mm512_permutex2var_ps(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high);
}

// Within each quarter of a register, then the quarters.
inline void four(int32_t* at, I a, I b, I c, I d) {
    const I ab = _mm512_unpacklo_epi32(a, b), cd = _mm512_unpacklo_epi32(c, d);
    const I ab2 = _mm512_unpackhi_epi32(a, b), cd2 = _mm512_unpackhi_epi32(c, d);
    const I r0 = _mm512_unpacklo_epi64(ab, cd), r1 = _mm512_unpackhi_epi64(ab, cd);
    const I r2 = _mm512_unpacklo_epi64(ab2, cd2), r3 = _mm512_unpackhi_epi64(ab2, cd2);
    const I s0 = _mm512_shuffle_i32x4(r0, r1, 0x44), s1 = _mm512_shuffle_i32x4(r2, r3, 0x44);
    const I s2 = _mm512_shuffle_i32x4(r0, r1, 0xee), s3 = _mm512_shuffle_i32x4(r2, r3, 0xee);
    _mm512_storeu_si512(at, _mm512_shuffle_i32x4(s0, s1, 0x88));
    _mm512_storeu_si512(at + 16, _mm512_shuffle_i32x4(s0, s1, 0xdd));
    _mm512_storeu_si512(at + 32, _mm512_shuffle_i32x4(s2, s3, 0x88));
    _mm512_storeu_si512(at + 48, _mm512_shuffle_i32x4(s2, s3, 0xdd));
}
inline void four(float* at, V a, V b, V c, V d) {
    four(reinterpret_cast<int32_t*>(at), _mm512_castps_si512(a), _mm512_castps_si512(b), _mm512_castps_si512(c),
         _mm512_castps_si512(d));
}

}  // namespace
}  // namespace saccade::deformable_attention

#include "../convert.inc"
#include "deformable_attention.inc"
