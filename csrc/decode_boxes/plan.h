// What the checked entry hands to a candidate. Plain data: the objects compiled for one ISA see nothing else of C++.
#ifndef SACCADE_DECODE_BOXES_PLAN_H
#define SACCADE_DECODE_BOXES_PLAN_H

#include <stdint.h>

namespace saccade::decode_boxes {

struct Kernel {
    // Writes each i of 0..count whose logit is greater than `above`, ascending; room for count. Returns how many.
    int64_t (*scan)(const float* logits, int64_t count, float above, int32_t* found);
};

}  // namespace saccade::decode_boxes

#endif
