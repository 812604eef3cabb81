#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#include "plan.h"
#include "saccade/dtype.h"

#define SACCADE_OP deformable_attention
#define SACCADE_ISA neon

namespace saccade::deformable_attention {
namespace {

using V = float32x4_t;
using M = uint32x4_t;
using I = int32x4_t;
constexpr int LANES = 4, CHAINS = 2;

inline V load(const float* at) { return vld1q_f32(at); }
inline void store(float* at, V v) { vst1q_f32(at, v); }
inline V spread(float x) { return vdupq_n_f32(x); }
inline V fused(V a, V b, V c) { return vfmaq_f32(c, a, b); }
inline V floored(V v) { return vrndmq_f32(v); }
inline M from(V a, V b) { return vcgeq_f32(a, b); }
inline M below(V a, V b) { return vcltq_f32(a, b); }
inline M both(M a, M b) { return vandq_u32(a, b); }
inline M either(M a, M b) { return vorrq_u32(a, b); }
inline V kept(M m, V v) { return vreinterpretq_f32_u32(vandq_u32(m, vreinterpretq_u32_f32(v))); }
inline I load_whole(const int32_t* at) { return vld1q_s32(at); }
inline I spread_whole(int32_t x) { return vdupq_n_s32(x); }
inline I whole(V v) { return vcvtq_s32_f32(v); }
inline I plus(I a, I b) { return vaddq_s32(a, b); }
inline I times(I a, I b) { return vmulq_s32(a, b); }
inline I chosen(M m, I a, I b) { return vbslq_s32(m, a, b); }
inline void fetch(const char* at) { __builtin_prefetch(at); }
inline void pairs(const float* at, V& x, V& y) {
    const float32x4x2_t both_axes = vld2q_f32(at);
    x = both_axes.val[0];
    y = both_axes.val[1];
}
inline void four(float* at, V a, V b, V c, V d) { vst4q_f32(at, float32x4x4_t{{a, b, c, d}}); }
inline void four(int32_t* at, I a, I b, I c, I d) { vst4q_s32(at, int32x4x4_t{{a, b, c, d}}); }
inline V widened(const uint16_t* at) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(at))); }
inline void narrowed(uint16_t* at, V v) { vst1_u16(at, vreinterpret_u16_f16(vcvt_f16_f32(v))); }

}  // namespace
}  // namespace saccade::deformable_attention

#include "../convert.inc"
#include "deformable_attention.inc"
