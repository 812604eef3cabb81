#ifndef SACCADE_RESIZE_NORMALIZE_TAPS_H
#define SACCADE_RESIZE_NORMALIZE_TAPS_H

#include <vector>

#include "plan.h"

namespace saccade::resize_normalize {

// Weights of outputs begin..end of an axis that maps the source interval low..high to `resized` pixels.
// Returned pointers live in `memory`.
Taps make_taps(int filter, int64_t source, float low, float high, int64_t resized, int64_t begin, int64_t end,
               std::vector<int32_t>& memory);

}  // namespace saccade::resize_normalize

#endif
