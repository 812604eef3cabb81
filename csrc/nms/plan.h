// What the checked entry hands to a candidate. Plain data: the objects compiled for one ISA see nothing else of C++.
#ifndef SACCADE_NMS_PLAN_H
#define SACCADE_NMS_PLAN_H

#include <stdint.h>

namespace saccade::nms {

constexpr int64_t SLACK = 64;  // floats that a kernel may read past the last kept box; they are NaN

enum { X1, Y1, X2, Y2, AREA, FIELDS };

// The boxes of one class by descending score, a field an array.
struct Group {
    const float* box[FIELDS];
    int64_t count;
    float iou;
    int64_t limit;
    float* kept[FIELDS];  // scratch: the boxes that stayed so far; count + SLACK floats, all NaN before and after
    uint8_t* stays;       // out, (count): 0 or 1, 0 from the limit on
};

struct Kernel {
    void (*run)(const Group& group);
};

}  // namespace saccade::nms

#endif
