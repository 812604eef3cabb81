#include <stdint.h>
#include <string.h>

#include "plan.h"
#include "saccade/dtype.h"

#define SACCADE_OP deformable_attention
#define SACCADE_ISA base

#include "../half.inc"

// The compiler's own vectors: SSE or whatever the CPU has.
namespace saccade::deformable_attention {
namespace {

typedef float V __attribute__((vector_size(16)));
typedef int32_t I __attribute__((vector_size(16)));
using M = I;
constexpr int LANES = 4, CHAINS = 1;

inline V load(const float* at) {
    V v;
    memcpy(&v, at, sizeof v);
    return v;
}
inline void store(float* at, V v) { memcpy(at, &v, sizeof v); }
inline V spread(float x) { return V{x, x, x, x}; }
inline V fused(V a, V b, V c) { return a * b + c; }
inline V floored(V v) {
    return V{__builtin_floorf(v[0]), __builtin_floorf(v[1]), __builtin_floorf(v[2]), __builtin_floorf(v[3])};
}
inline M from(V a, V b) { return a >= b; }
inline M below(V a, V b) { return a < b; }
inline M both(M a, M b) { return a & b; }
inline M either(M a, M b) { return a | b; }
inline V kept(M m, V v) { return m ? v : spread(0); }
inline I load_whole(const int32_t* at) {
    I i;
    memcpy(&i, at, sizeof i);
    return i;
}
inline I spread_whole(int32_t x) { return I{x, x, x, x}; }
inline I whole(V v) { return __builtin_convertvector(v, I); }
inline I plus(I a, I b) { return a + b; }
inline I times(I a, I b) { return a * b; }
inline I chosen(M m, I a, I b) { return m ? a : b; }
inline void fetch(const char* at) { __builtin_prefetch(at); }

inline void pairs(const float* at, V& x, V& y) {
    x = V{at[0], at[2], at[4], at[6]};
    y = V{at[1], at[3], at[5], at[7]};
}
inline void four(float* at, V a, V b, V c, V d) {
    for (int i = 0; i < LANES; ++i) store(at + 4 * i, V{a[i], b[i], c[i], d[i]});
}
inline void four(int32_t* at, I a, I b, I c, I d) {
    for (int i = 0; i < LANES; ++i) {
        const I group{a[i], b[i], c[i], d[i]};
        memcpy(at + 4 * i, &group, sizeof group);
    }
}

inline V widened(const uint16_t* at) {
    return V{from_half(at[0]), from_half(at[1]), from_half(at[2]), from_half(at[3])};
}
inline void narrowed(uint16_t* at, V v) {
    for (int i = 0; i < LANES; ++i) at[i] = to_half(v[i]);
}

}  // namespace
}  // namespace saccade::deformable_attention

#include "../convert.inc"
#include "deformable_attention.inc"
