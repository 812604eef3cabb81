#include <stdint.h>
#include <string.h>

#include "plan.h"
#include "saccade/dtype.h"

#define SACCADE_OP relpos_attention
#define SACCADE_ISA base

#include "../half.inc"

// The compiler's own vectors: SSE, NEON or whatever the CPU has.
namespace saccade::relpos_attention {
namespace {

typedef float V __attribute__((vector_size(16)));
typedef int32_t Whole __attribute__((vector_size(16)));
constexpr int LANES = 4, WIDE = 2;
constexpr float LEAST = -127.0f;  // 2^-127 has the bits of 0 below

struct Power {
    Whole whole;
    V rest;
};

inline V load(const float* at) {
    V v;
    memcpy(&v, at, sizeof v);
    return v;
}
inline void store(float* at, V v) { memcpy(at, &v, sizeof v); }
inline V spread(float x) { return V{x, x, x, x}; }
inline V fused(V a, V b, V c) { return a * b + c; }
inline V most(V a, V b) { return a > b ? a : b; }
inline bool above(V a, V b) {
    const Whole m = a > b;
    int64_t halves[2];
    memcpy(halves, &m, sizeof m);
    return (halves[0] | halves[1]) != 0;
}
// Added to 1.5 · 2^23, a number is rounded to a whole one, and that stands in the lowest bits.
inline Power split(V x) {
    const V shift = spread(12582912.0f), high = x + shift;
    Whole whole;
    memcpy(&whole, &high, sizeof whole);
    return {whole, x - (high - shift)};
}
inline V scaled(V p, Whole whole) {
    typedef uint32_t Bits __attribute__((vector_size(16)));
    const Bits bits = ((Bits)whole + 127) << 23;
    V power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

inline V widened(const uint16_t* at) {
    return V{from_half(at[0]), from_half(at[1]), from_half(at[2]), from_half(at[3])};
}
inline void narrowed(uint16_t* at, V v) {
    for (int i = 0; i < LANES; ++i) at[i] = to_half(v[i]);
}

}  // namespace
}  // namespace saccade::relpos_attention

#include "../convert.inc"
#include "relpos_attention.inc"
