#include <immintrin.h>
#include <stdint.h>

#include "plan.h"

#define SACCADE_ISA avx512

namespace saccade::nms {
namespace {

using V = __m512;
using M = __mmask16;
constexpr int LANES = 16;

inline V load(const float* at) { return _mm512_loadu_ps(at); }
inline V spread(float x) { return _mm512_set1_ps(x); }
inline V least(V a, V b) { return _mm512_min_ps(a, b); }
inline V most(V a, V b) { return _mm512_max_ps(a, b); }
inline M above(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
inline M both(M a, M b) { return _kand_mask16(a, b); }
inline bool any(M m) { return m != 0; }

}  // namespace
}  // namespace saccade::nms

#include "nms.inc"
