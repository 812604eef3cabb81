#include <arm_neon.h>
#include <stdint.h>

#include "plan.h"

#define SACCADE_ISA neon

namespace saccade::peaks {
namespace {

using V = float32x4_t;
constexpr int LANES = 4;

inline V load(const float* at) { return vld1q_f32(at); }
inline void store(float* at, V v) { vst1q_f32(at, v); }
inline V spread(float x) { return vdupq_n_f32(x); }
inline V plus(V a, V b) { return vaddq_f32(a, b); }
inline V fused(V a, V b, V c) { return vfmaq_f32(c, a, b); }
inline float sum(V v) { return vaddvq_f32(v); }

}  // namespace
}  // namespace saccade::peaks

#include "no_dot.inc"
#include "peaks.inc"
