// What the checked entry hands to a candidate. Plain data: the objects compiled for one ISA see nothing else of C++.
#ifndef SACCADE_DEFORMABLE_ATTENTION_PLAN_H
#define SACCADE_DEFORMABLE_ATTENTION_PLAN_H

#include <stdint.h>

namespace saccade::deformable_attention {

constexpr int64_t PAD = 16;   // rows and points come in multiples of this many: the widest register
constexpr int64_t BLOCK = 8;  // queries that become corners before their rows are added up

// Points: those of all levels, L T of them; `padded` is that rounded up to PAD, and `wide` is D so.
struct Plan {
    int32_t dtype;
    int64_t places, dim, wide, points, padded;
    int64_t value_stride, locations_stride, weights_stride, out_stride;  // bytes from a place or query to the next
    // Of each point's level, 0 for those that only fill up: its size, and where in `rows` its first pixel is and how
    // far a row of pixels is from the next.
    const float *width, *height;
    const int32_t *start, *pitch;
};

// One head of one picture. Pointers are to its first place and query.
struct Job {
    const char *value, *locations, *weights;
    char* out;
    int64_t queries;
};

// Of one thread, 64-byte aligned. Corners of a point: upper left, upper right, lower left, lower right.
struct Scratch {
    float* rows;     // (S + 1, wide) the head's pixels beside each other; behind them one of zeros, for what is outside
    float* pairs;    // (padded, 2) locations of a query
    float* weights;  // (padded)
    float* line;     // (wide) the answer of a query
    float* shares;   // (BLOCK, padded, 4) what each corner counts
    int32_t* places;  // (BLOCK, padded, 4) where in `rows` it is
};

struct Kernel {
    void (*run)(const Plan& plan, const Job& job, const Scratch& scratch);
};

}  // namespace saccade::deformable_attention

#endif
