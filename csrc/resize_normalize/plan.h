// What the checked entry hands to a candidate. Plain data: the objects compiled for one ISA see nothing else of C++.
#ifndef SACCADE_RESIZE_NORMALIZE_PLAN_H
#define SACCADE_RESIZE_NORMALIZE_PLAN_H

#include <stddef.h>
#include <stdint.h>

namespace saccade::resize_normalize {

constexpr int BITS = 22;  // fraction of a weight: 32 less 8 for the byte and 2 for sums beyond 0..255
constexpr int ROUND = 1 << (BITS - 1);

// One axis: output i is the sum over t < number[i] of weights[i * width + t] * source[first[i] + t].
struct Taps {
    int32_t count;   // outputs
    int32_t width;   // largest number
    int32_t reach;   // bound on what a sliding window over the source must hold to serve the outputs in order
    int32_t begin;   // least source index used
    int32_t end;     // one past the greatest
    int32_t skip;    // output i is source begin + i: the pass may be left out
    int32_t widest;  // largest magnitude of a weight
    const int32_t* first;
    const int32_t* number;
    const int32_t* weights;  // unused entries are 0
};

struct Plan {
    const uint8_t* image;
    int64_t row_stride;
    int64_t row_bytes;  // 3 W
    Taps x, y;
    int vertical_first;
    int output;  // enum saccade_output
    uint8_t* out;
    int64_t height, width;  // of the crop
    int64_t padded_height, padded_width;
    int64_t top, left;  // of the computed part within the crop
    float pad_value, scale, mean[3], std[3];
    float floats[3][256];  // what each byte becomes, a channel
    uint16_t halves[3][256];
    uint16_t pad_half;
    int64_t from, to;  // outputs of the y axis that this part computes; rows beside 0..y.count go with the nearest part
};

struct Kernel {
    size_t (*scratch_bytes)(const Plan& plan);
    void (*run)(const Plan& plan, uint8_t* scratch);  // scratch is aligned to 64 bytes
};

}  // namespace saccade::resize_normalize

#endif
