// Weights of one axis, as Pillow computes them: in double, normalised, rounded to 22 fractional bits. Every operation
// and its order matters to the last bit; reference.py says the same in NumPy.
#include "taps.h"

#include <algorithm>
#include <cmath>

#include "saccade/resize_normalize.h"

namespace saccade::resize_normalize {
namespace {

constexpr double PI = 3.14159265358979323846;

double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

double triangle(double x) {
    x = std::fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

double hamming(double x) {
    x = std::fabs(x);
    if (x == 0.0) return 1.0;
    if (x >= 1.0) return 0.0;
    x *= PI;
    return std::sin(x) / x * (0.54f + 0.46f * std::cos(x));  // the float constants are Pillow's
}

double cubic(double x) {  // Keys (1981), a = -1/2
    x = std::fabs(x);
    if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * -0.5;
    return 0.0;
}

double sinc(double x) {
    if (x == 0.0) return 1.0;
    x *= PI;
    return std::sin(x) / x;
}

double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

struct Shape {
    double (*weight)(double);
    double support;
};

Shape shape_of(int filter) {
    switch (filter) {
        case SACCADE_BOX:
            return {box, 0.5};
        case SACCADE_BILINEAR:
            return {triangle, 1.0};
        case SACCADE_HAMMING:
            return {hamming, 1.0};
        case SACCADE_BICUBIC:
            return {cubic, 2.0};
        default:
            return {lanczos, 3.0};
    }
}

int32_t fixed(double weight) {
    const double scaled = weight * (1 << BITS);
    return static_cast<int32_t>(weight < 0 ? scaled - 0.5 : scaled + 0.5);
}

struct Axis {
    int32_t *first, *number, *weights;
    int32_t width;
};

void nearest(const Axis& axis, int64_t source, float low, double step, int64_t begin, int64_t end) {
    double at = low + step * 0.5;
    for (int64_t i = 0; i < end; ++i, at += step) {  // added up, not multiplied: the last bit decides ties
        if (i < begin) continue;
        const bool inside = at >= 0 && at < static_cast<double>(source);
        axis.first[i - begin] = inside ? static_cast<int32_t>(at) : 0;
        axis.number[i - begin] = inside;
        axis.weights[i - begin] = inside ? 1 << BITS : 0;
    }
}

void filtered(const Axis& axis, Shape shape, int64_t source, float low, double step, int64_t begin, int64_t end) {
    const double stretch = std::max(step, 1.0), support = shape.support * stretch, inverse = 1.0 / stretch;
    std::vector<double> row(axis.width);
    for (int64_t i = begin; i < end; ++i) {
        const double centre = low + (static_cast<double>(i) + 0.5) * step;
        const int64_t from = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
        const int64_t to = std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5), source);
        const int64_t number = std::max<int64_t>(to - from, 0);
        double sum = 0.0;
        for (int64_t t = 0; t < number; ++t)
            sum += row[t] = shape.weight((static_cast<double>(t + from) - centre + 0.5) * inverse);
        int32_t* weights = axis.weights + (i - begin) * axis.width;
        for (int64_t t = 0; t < number; ++t) weights[t] = fixed(sum != 0.0 ? row[t] / sum : row[t]);
        axis.first[i - begin] = static_cast<int32_t>(from);
        axis.number[i - begin] = static_cast<int32_t>(number);
    }
}

// Drops zeros behind each output's weights, and before them too if every output is one source byte, as in a pass that
// changes nothing. Elsewhere zeros before stay, so that `first` never falls: the kernels' windows rely on it.
// Returns the largest number of weights left.
int32_t trim(const Axis& axis, int64_t count) {
    int32_t widest = 1;
    bool copies = true;
    for (int64_t i = 0; i < count; ++i) {
        const int32_t* weights = axis.weights + i * axis.width;
        int32_t number = axis.number[i];
        while (number > 1 && weights[number - 1] == 0) --number;
        axis.number[i] = number;
        copies = copies && number > 0 && weights[number - 1] == 1 << BITS &&
                 std::all_of(weights, weights + number - 1, [](int32_t weight) { return weight == 0; });
        widest = std::max(widest, number);
    }
    if (!copies) return widest;
    for (int64_t i = 0; i < count; ++i) {
        int32_t* weights = axis.weights + i * axis.width;
        axis.first[i] += axis.number[i] - 1;
        axis.number[i] = 1;
        std::fill(weights, weights + axis.width, 0);
        weights[0] = 1 << BITS;
    }
    return 1;
}

}  // namespace

Taps make_taps(int filter, int64_t source, float low, float high, int64_t resized, int64_t begin, int64_t end,
               std::vector<int32_t>& memory) {
    const int64_t count = end - begin;
    const double step = static_cast<double>(high - low) / static_cast<double>(resized);
    const Shape shape = shape_of(filter);
    const double support = shape.support * std::max(step, 1.0);
    const int64_t room = filter == SACCADE_NEAREST ? 1 : static_cast<int64_t>(std::ceil(support)) * 2 + 1;
    const int32_t wide = static_cast<int32_t>(std::min(room, source));
    memory.assign(static_cast<size_t>(count) * (2 + wide), 0);
    const Axis axis{memory.data(), memory.data() + count, memory.data() + 2 * count, wide};
    if (filter == SACCADE_NEAREST) {
        nearest(axis, source, low, step, begin, end);
    } else {
        filtered(axis, shape, source, low, step, begin, end);
    }
    const int32_t narrow = trim(axis, count);
    Taps taps{static_cast<int32_t>(count), narrow, wide, 0, 0, 1, 0, axis.first, axis.number, axis.weights};
    if (count == 0) return taps;
    taps.begin = *std::min_element(axis.first, axis.first + count);
    for (int64_t i = 0; i < count; ++i) {
        int32_t* row = axis.weights + i * wide;
        taps.end = std::max(taps.end, axis.first[i] + axis.number[i]);
        taps.skip &= axis.first[i] == taps.begin + i && axis.number[i] == 1 && row[0] == 1 << BITS;
        for (int32_t t = 0; t < narrow; ++t) taps.widest = std::max(taps.widest, std::abs(row[t]));
        if (narrow < wide) std::copy(row, row + narrow, axis.weights + i * narrow);
    }
    return taps;
}

}  // namespace saccade::resize_normalize
