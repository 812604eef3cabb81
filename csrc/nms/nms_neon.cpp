#include <arm_neon.h>
#include <stdint.h>

#include "plan.h"

#define SACCADE_ISA neon

namespace saccade::nms {
namespace {

using V = float32x4_t;
using M = uint32x4_t;
constexpr int LANES = 4;

inline V load(const float* at) { return vld1q_f32(at); }
inline V spread(float x) { return vdupq_n_f32(x); }
inline V least(V a, V b) { return vminq_f32(a, b); }
inline V most(V a, V b) { return vmaxq_f32(a, b); }
inline M above(V a, V b) { return vcgtq_f32(a, b); }
inline M both(M a, M b) { return vandq_u32(a, b); }
inline bool any(M m) { return vmaxvq_u32(m) != 0; }

}  // namespace
}  // namespace saccade::nms

#include "nms.inc"
