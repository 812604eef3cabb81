#include "axis.h"

#include <algorithm>
#include <cmath>

namespace saccade::mask_decode {
namespace {

// Output i of a bilinear interpolation is near * source[at] + far * source[next].
struct Pair {
    int64_t at, next;
    float near, far;
};

// torch's upsample_bilinear2d with align_corners=False, to the last bit: in float32, the multiply-add that gives the
// place fused, as torch's builds have it. The product of two floats is exact in float64.
Pair interpolate(int64_t source, int64_t target, int64_t i) {
    if (source == target) return {i, i, 1, 0};
    const float scale = static_cast<float>(source) / static_cast<float>(target);
    const double centre = static_cast<double>(scale) * static_cast<double>(static_cast<float>(i) + 0.5f);
    const float place = std::max(static_cast<float>(centre - 0.5), 0.0f);
    const int64_t at = std::min(static_cast<int64_t>(std::floor(place)), source - 1);
    const float far = std::clamp(place - static_cast<float>(at), 0.0f, 1.0f);
    return {at, std::min(at + 1, source - 1), 1.0f - far, far};
}

}  // namespace

OwnedAxis make_axis(int64_t low, int64_t model, int64_t valid, int64_t original) {
    const size_t padded = static_cast<size_t>((original + STRIP - 1) / STRIP * STRIP);
    OwnedAxis axis;
    axis.first.resize(padded);
    for (auto& weights : axis.weights) weights.resize(padded);
    for (size_t i = 0; i < padded; ++i) {
        const Pair outer = interpolate(valid, original, std::min(static_cast<int64_t>(i), original - 1));
        const Pair inner[2] = {interpolate(low, model, outer.at), interpolate(low, model, outer.next)};
        const double weight[2] = {outer.near, outer.far};
        double sums[TAPS] = {};
        const int64_t first = inner[0].at;
        for (int k = 0; k < 2; ++k) {
            // The model is no smaller than the logits, so neighbours in it are at most one logit apart.
            sums[std::min<int64_t>(inner[k].at - first, TAPS - 1)] += weight[k] * static_cast<double>(inner[k].near);
            sums[std::min<int64_t>(inner[k].next - first, TAPS - 1)] += weight[k] * static_cast<double>(inner[k].far);
        }
        axis.first[i] = static_cast<int32_t>(first);
        for (int t = 0; t < TAPS; ++t) axis.weights[t][i] = static_cast<float>(sums[t]);
    }
    return axis;
}

}  // namespace saccade::mask_decode
