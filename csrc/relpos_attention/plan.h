// What the checked entry hands to a candidate. Plain data: the objects compiled for one ISA see nothing else of C++.
#ifndef SACCADE_RELPOS_ATTENTION_PLAN_H
#define SACCADE_RELPOS_ATTENTION_PLAN_H

#include <stdint.h>

namespace saccade::relpos_attention {

constexpr int64_t TILE = 6;     // queries at once in registers
constexpr int64_t GROUP = 8;    // tiles that meet the keys, then the values: both at once would not stay in L1
constexpr int64_t KEYS = 64;    // lanes of a block of keys: rows of the picture, or 64 places of a wide one
constexpr int64_t PAD = 16;     // a row of keys starts at a multiple of this many lanes: the widest register
constexpr int64_t BLOCK = 480;  // queries of a task at most: they share the packing of keys, and stay in 1 MB of L2

struct Plan {
    int32_t dtype;
    int64_t rows, columns, dim;
    float scale;
    int64_t stride[5];  // bytes from one query or key to the next in q, k, v, rh, rw
    int64_t out_stride;
};

// Some queries of one head. Pointers to q, rh, rw and out are those of the first query, to k and v of the first key.
struct Job {
    const char *q, *k, *v, *rh, *rw;
    char* out;
    int64_t count;
};

// Floats of one thread, 64-byte aligned. QB: count rounded up to TILE; DP, WP: dim and columns, rounded up to PAD.
struct Scratch {
    float* q;       // (QB / TILE, D, TILE) scaled
    float* rh;      // (QB, Hk)
    float* rw;      // (QB, WP) with -inf where no column is
    float* out;     // (QB, DP) not divided by the sums yet
    float* sums;    // (QB, PAD)
    float* top;     // (QB)
    float* line;    // (KEYS, DP) keys as they come
    float* keys;    // (DP, KEYS) transposed, 0 in lanes of no key
    float* values;  // (KEYS, DP) of the keys that are, without gaps
    float* scores;  // (GROUP, TILE, KEYS)
};

struct Kernel {
    void (*run)(const Plan& plan, const Job& job, const Scratch& scratch);
};

}  // namespace saccade::relpos_attention

#endif
