// What the checked entry hands to a candidate. Plain data: the objects compiled for one ISA see nothing else of C++.
#ifndef SACCADE_PEAKS_PLAN_H
#define SACCADE_PEAKS_PLAN_H

#include <stdint.h>

namespace saccade::peaks {

constexpr int64_t STEP = 256;  // floats that a memory loop takes at a time

// What a loop returns depends on all that it computed, so that none of it can be left out.
struct Kernel {
    float (*read)(const float* a, int64_t count);
    void (*write)(float* a, int64_t count);
    void (*triad)(float* a, const float* b, const float* c, int64_t count);
    float (*fp32)(int64_t repeats);
    int32_t (*int8)(int64_t repeats);         // NULL where there is no such instruction
    double fp32_operations, int8_operations;  // of a repeat
};

}  // namespace saccade::peaks

#endif
