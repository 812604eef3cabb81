#include <stdint.h>
#include <string.h>

#include "plan.h"

#define SACCADE_ISA base

// The compiler's own vectors, and no fused multiply-add: two instructions where others have one.
namespace saccade::peaks {
namespace {

typedef float V __attribute__((vector_size(16)));
constexpr int LANES = 4;

inline V load(const float* at) {
    V v;
    memcpy(&v, at, sizeof v);
    return v;
}
inline void store(float* at, V v) { memcpy(at, &v, sizeof v); }
inline V spread(float x) { return V{x, x, x, x}; }
inline V plus(V a, V b) { return a + b; }
inline V fused(V a, V b, V c) { return a * b + c; }
inline float sum(V v) { return (v[0] + v[1]) + (v[2] + v[3]); }

}  // namespace
}  // namespace saccade::peaks

#include "no_dot.inc"
#include "peaks.inc"
