// SAM's logits to bits, statistics and run lengths on a GPU. Nothing of full size exists but a bit a pixel:
//
//     logits ──bits──▶ words of 32 rows, statistics ──columns──▶ places ──edges──▶ where the mask changes
//                                                                ──dense──▶ bytes, if asked for
//
// A kernel for each arrow. kernels/mask_decode/reference.py is the specification, kernels/mask_decode/launch.py the
// caller; nothing here is linked: csrc/launch loads it. Floats are rounded as the reference rounds them.
//
// M: masks; h w: logits; H W: original; words = ⌈H / 32⌉. bits (M, words, W): bit b of word k is row 32 k + b.
// stats (M, 8), zero before: pixels above the lower threshold, the mask's, above the upper; W − left, H − top,
// right + 1, bottom + 1 of the box, all 0 without one; edges.
#include <stdint.h>

namespace {

enum { LOWER, MASK, UPPER, LEFT, TOP, RIGHT, BOTTOM, EDGES, STATS };
enum { BELOW, ABOVE, MIXED };
constexpr int CHUNK = 4;       // words of a column that a thread of mask_bits makes
constexpr int COLUMNS = 1024;  // columns that mask_columns takes at a time, and its threads
constexpr unsigned ALL = 0xffffffff;

// One place on an axis: weights of three neighbours from `first` on.
struct Taps {
    float weight[3];
    int first;
};

__device__ Taps taps(const float4* axis, int i) {
    const float4 t = axis[i];
    return {{t.x, t.y, t.z}, __float_as_int(t.w)};
}

__device__ float mix(float a, float b, float c, const Taps& t) {
    return __fadd_rn(__fadd_rn(__fmul_rn(a, t.weight[0]), __fmul_rn(b, t.weight[1])), __fmul_rn(c, t.weight[2]));
}

__device__ float across(const float* row, int width, const Taps& x) {
    const int last = width - 1;
    return mix(row[x.first], row[min(x.first + 1, last)], row[min(x.first + 2, last)], x);
}

// What is surely below the lowest threshold or above the highest once resampled. Weights are not negative and sum to 1
// but for rounding, so a value between three of them is known without computing it (csrc/mask_decode/mask_decode.inc).
struct Bounds {
    float below, above;

    __device__ Bounds(float lower, float upper)
        : below(lower - (2e-6f * fabsf(lower) + 1e-37f)), above(upper + (2e-6f * fabsf(upper) + 1e-37f)) {}

    __device__ bool under(float v) const { return v <= below && v >= -INFINITY; }
    __device__ bool over(float v) const { return v >= above && v <= 3e38f; }
};

// Of the word before in the column, or of the column before; the first pixel of all has none.
__device__ uint32_t last_pixel(const uint32_t* mask, int x, int word, int width, int height) {
    if (word) return mask[static_cast<int64_t>(word - 1) * width + x] >> 31;
    const int end = height - 1;
    return x ? mask[static_cast<int64_t>(end / 32) * width + x - 1] >> (end % 32) & 1 : 0;
}

// A bit where a pixel differs from the one before it.
__device__ uint32_t changes(const uint32_t* mask, int x, int word, int width, int height) {
    const uint32_t here = mask[static_cast<int64_t>(word) * width + x];
    const uint32_t change = here ^ (here << 1 | last_pixel(mask, x, word, width, height));
    const int rows = height - 32 * word;
    return rows < 32 ? change & ((1u << rows) - 1) : change;
}

__device__ void record(uint32_t* stats, const unsigned* values) {
    const bool first = threadIdx.x % 32 == 0;
    for (int s = 0; s < EDGES; ++s) {
        const bool sum = s <= UPPER;
        const unsigned all = sum ? __reduce_add_sync(ALL, values[s]) : __reduce_max_sync(ALL, values[s]);
        if (!first || !all) continue;
        if (sum) atomicAdd(stats + s, all);
        if (!sum) atomicMax(stats + s, all);
    }
}

}  // namespace

// Grid (M, ⌈W / threads⌉, ⌈words / CHUNK⌉). A thread goes down a column; a warp agrees where nothing needs computing.
// x_axis (W), y_axis (H): weights, and the first logit as the bits of an int32.
extern "C" __global__ void __launch_bounds__(128)
    mask_bits(const float* low, const float4* x_axis, const float4* y_axis, uint32_t* bits, uint32_t* stats,
              int low_height, int low_width, int height, int width, float lower, float threshold, float upper) {
    const int64_t m = blockIdx.x;
    const int x = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x), words = (height + 31) / 32;
    const bool inside = x < width;
    const Taps column = taps(x_axis, min(x, width - 1));
    const float* logits = low + m * low_height * low_width;
    const auto row = [&](int y) {
        return across(logits + static_cast<int64_t>(min(y, low_height - 1)) * low_width, low_width, column);
    };
    const Bounds bounds(lower, upper);
    unsigned found[EDGES] = {};
    float a = 0, b = 0, c = 0;
    int at = -1, kind = MIXED;
    const int begin = static_cast<int>(blockIdx.z) * CHUNK, end = min(begin + CHUNK, words);
    for (int word = begin; word < end; ++word) {
        uint32_t set = 0;
        for (int y = 32 * word; y < min(32 * word + 32, height); ++y) {
            const Taps t = taps(y_axis, y);
            if (t.first != at) {  // the same for the whole warp
                const bool next = at >= 0 && t.first == at + 1;
                a = next ? b : row(t.first);
                b = next ? c : row(t.first + 1);
                c = row(t.first + 2);
                at = t.first;
                kind = __all_sync(ALL, bounds.under(a) && bounds.under(b) && bounds.under(c)) ? BELOW
                       : __all_sync(ALL, bounds.over(a) && bounds.over(b) && bounds.over(c))  ? ABOVE
                                                                                              : MIXED;
            }
            if (kind == BELOW) continue;
            const float v = kind == MIXED ? mix(a, b, c, t) : INFINITY;
            found[LOWER] += v > lower;
            found[UPPER] += v > upper;
            set |= static_cast<uint32_t>(v > threshold) << (y % 32);
        }
        if (inside) bits[(m * words + word) * width + x] = set;
        if (!set) continue;
        found[MASK] += static_cast<unsigned>(__popc(set));
        found[TOP] = max(found[TOP], static_cast<unsigned>(height - 32 * word - __ffs(static_cast<int>(set)) + 1));
        found[BOTTOM] = static_cast<unsigned>(32 * word + 32 - __clz(static_cast<int>(set)));
    }
    if (found[MASK]) {
        found[LEFT] = static_cast<unsigned>(width - x);
        found[RIGHT] = static_cast<unsigned>(x + 1);
    }
    if (!inside)
        for (unsigned& value : found) value = 0;
    record(stats + m * STATS, found);
}

// Grid (M), COLUMNS threads. places (M, W): edges of a mask before each column; their sum is the last of the stats.
extern "C" __global__ void __launch_bounds__(COLUMNS)
    mask_columns(const uint32_t* bits, uint32_t* places, uint32_t* stats, int height, int width) {
    __shared__ uint32_t sums[COLUMNS / 32];
    const int64_t m = blockIdx.x;
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, words = (height + 31) / 32;
    const uint32_t* mask = bits + m * words * width;
    uint32_t before = 0;
    for (int start = 0; start < width; start += COLUMNS) {
        const int x = start + thread;
        uint32_t count = 0;
        if (x < width)
            for (int word = 0; word < words; ++word)
                count += static_cast<uint32_t>(__popc(changes(mask, x, word, width, height)));
        uint32_t sum = count;  // of this warp's lanes up to this one
        for (int step = 1; step < 32; step *= 2) {
            const uint32_t other = __shfl_up_sync(ALL, sum, step);
            if (lane >= step) sum += other;
        }
        if (lane == 31) sums[thread / 32] = sum;
        __syncthreads();
        uint32_t place = before + sum - count;
        for (int warp = 0; warp < COLUMNS / 32; ++warp) {
            if (warp < thread / 32) place += sums[warp];
            before += sums[warp];
        }
        if (x < width) places[m * width + x] = place;
        __syncthreads();
    }
    if (thread == 0) stats[m * STATS + EDGES] = before;
}

// Grid (M, ⌈W / threads⌉). starts (M): where a mask's edges begin in `edges`. An edge is x · H + y, ascending.
extern "C" __global__ void __launch_bounds__(128)
    mask_edges(const uint32_t* bits, const uint32_t* places, const int64_t* starts, uint32_t* edges, int height,
               int width) {
    const int64_t m = blockIdx.x;
    const int x = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x), words = (height + 31) / 32;
    if (x >= width) return;
    const uint32_t* mask = bits + m * words * width;
    uint32_t* to = edges + starts[m] + places[m * width + x];
    const uint32_t top = static_cast<uint32_t>(x) * static_cast<uint32_t>(height);
    for (int word = 0; word < words; ++word) {
        uint32_t change = changes(mask, x, word, width, height);
        for (; change; change &= change - 1)
            *to++ = top + static_cast<uint32_t>(32 * word + __ffs(static_cast<int>(change)) - 1);
    }
}

// Grid (D, ⌈W / threads⌉, words). chosen (D): which masks. out (D, H, W): bytes 0 and 1.
extern "C" __global__ void __launch_bounds__(128)
    mask_dense(const uint32_t* bits, const int64_t* chosen, uint8_t* out, int height, int width) {
    const int x = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x), words = (height + 31) / 32;
    const int word = static_cast<int>(blockIdx.z);
    if (x >= width) return;
    const uint32_t set = bits[(chosen[blockIdx.x] * words + word) * width + x];
    uint8_t* to = out + (static_cast<int64_t>(blockIdx.x) * height + 32 * word) * width + x;
    for (int b = 0; b < min(32, height - 32 * word); ++b) to[static_cast<int64_t>(b) * width] = set >> b & 1;
}
