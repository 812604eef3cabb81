// One operator for both of SAM's interpolations along an axis.
#ifndef SACCADE_MASK_DECODE_AXIS_H
#define SACCADE_MASK_DECODE_AXIS_H

#include <stdint.h>

#include <vector>

#include "plan.h"

namespace saccade::mask_decode {

struct OwnedAxis {
    std::vector<int32_t> first;
    std::vector<float> weights[TAPS];

    Axis view() const { return {first.data(), {weights[0].data(), weights[1].data(), weights[2].data()}}; }
};

// `low` to `model`, of that the first `valid`, to `original`; padded to a multiple of STRIP with its last output.
OwnedAxis make_axis(int64_t low, int64_t model, int64_t valid, int64_t original);

}  // namespace saccade::mask_decode

#endif
