// What the checked entry hands to a candidate. Plain data: the objects compiled for one ISA see nothing else of C++.
#ifndef SACCADE_MASK_DECODE_PLAN_H
#define SACCADE_MASK_DECODE_PLAN_H

#include <stdint.h>

namespace saccade::mask_decode {

constexpr int TAPS = 3;
constexpr int STRIP = 16;  // columns of the original that go together
constexpr int EDGE_SLACK = 4;
constexpr int BAND = 8;  // rows of the logits that are judged together

// One axis: output i is the sum over t of weight t of i * source[min(first[i] + t, source size - 1)].
struct Axis {
    const int32_t* first;
    const float* weights[TAPS];
};

// Rows begin..end of the original whose taps start at the same row of the logits.
struct Segment {
    int32_t first, begin, end;
};

enum { LOWER, MASK, UPPER, LEVELS };

struct Plan {
    int64_t low_height, low_width;
    int64_t height, width;  // of the original
    Axis x, y;              // x is padded to whole strips with its last column
    const Segment* segments;
    int64_t segment_count;
    int64_t used;             // rows of the logits that reach the picture: 0..used
    float threshold[LEVELS];  // ascending
};

// One thread's memory and what a strip leaves in it. Rows of bits are rounded up to whole words of 64, with zeros.
struct Scratch {
    uint16_t* under;         // (bands, groups of 16 columns of the logits): surely below the lowest threshold
    uint16_t* over;          // the same: surely above the highest one
    float* rows;             // (used + 2, STRIP): the logits, resampled across
    uint16_t* below;         // (used + 2): columns of a row that are below the lowest threshold
    uint16_t* above;         // (used + 2): columns that are above the highest one
    uint16_t* bits[LEVELS];  // (H): the pixels of a row above each threshold
    uint64_t* columns;       // (STRIP, words): the mask again, transposed
    uint64_t* seen;          // (words): rows that hold any pixel, over all strips so far
    uint32_t* edges;         // (STRIP * H + EDGE_SLACK): where, column after column, the mask changes
    int64_t area[LEVELS];    // sums over all strips so far
    int64_t left, right;     // columns that hold any pixel so far; right < left if none
    uint64_t last;           // the last pixel so far
};

struct Kernel {
    void (*judge)(const Plan& plan, const float* low, Scratch& scratch);
    // Columns x..x + STRIP of one mask. Returns how many edges it wrote, relative to the top of column x. The bits of
    // the rows are complete only if `dense` is set.
    int64_t (*strip)(const Plan& plan, const float* low, int64_t x, bool dense, Scratch& scratch);
};

}  // namespace saccade::mask_decode

#endif
