#include <immintrin.h>
#include <stdint.h>

#include "plan.h"

#define SACCADE_ISA avx2

namespace saccade::nms {
namespace {

using V = __m256;
using M = __m256;
constexpr int LANES = 8;

inline V load(const float* at) { return _mm256_loadu_ps(at); }
inline V spread(float x) { return _mm256_set1_ps(x); }
inline V least(V a, V b) { return _mm256_min_ps(a, b); }
inline V most(V a, V b) { return _mm256_max_ps(a, b); }
inline M above(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
inline M both(M a, M b) { return _mm256_and_ps(a, b); }
inline bool any(M m) { return !_mm256_testz_ps(m, m); }

}  // namespace
}  // namespace saccade::nms

#include "nms.inc"
