#include <stdint.h>
#include <string.h>

#include "plan.h"

#define SACCADE_ISA base

// The compiler's own vectors: SSE, NEON or whatever the CPU has.
namespace saccade::nms {
namespace {

typedef float V __attribute__((vector_size(16)));
typedef int32_t M __attribute__((vector_size(16)));
constexpr int LANES = 4;

inline V load(const float* at) {
    V v;
    memcpy(&v, at, sizeof v);
    return v;
}
inline V spread(float x) { return V{x, x, x, x}; }
inline V least(V a, V b) { return a < b ? a : b; }
inline V most(V a, V b) { return a > b ? a : b; }
inline M above(V a, V b) { return a > b; }
inline M both(M a, M b) { return a & b; }
inline bool any(M m) {
    int64_t halves[2];
    memcpy(halves, &m, sizeof m);
    return (halves[0] | halves[1]) != 0;
}

}  // namespace
}  // namespace saccade::nms

#include "nms.inc"
