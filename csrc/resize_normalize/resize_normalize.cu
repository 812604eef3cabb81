// Pillow's resampling on a GPU, with its integers: a pass an axis, bytes between them, then the normalisation.
// kernels/resize_normalize/reference.py is the specification, kernels/resize_normalize/launch.py the caller; nothing
// here is linked: csrc/launch loads it. Floats are rounded as the reference rounds them, one operation at a time.
#include <stdint.h>

namespace {

enum { UINT8, FLOAT32, FLOAT16 };  // enum saccade_output
constexpr int FRACTION = 22;       // bits of a weight below the point

// The nearest half, ties to even, as bits.
__device__ uint16_t half_bits(float x) {
    const uint32_t bits = __float_as_uint(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
    if (size >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);
    // Below 2^-14 a half has no leading bit: halves are multiples of 2^-24 there, and adding one half makes them so.
    if (size < 0x38800000) {
        const float shifted = __fadd_rn(__uint_as_float(size), 0.5f);  // the last bit of its sum is worth 2^-24
        return static_cast<uint16_t>(sign | (__float_as_uint(shifted) - 0x3f000000));
    }
    const uint32_t odd = size >> 13 & 1;
    return static_cast<uint16_t>(sign | ((size - 0x38000000 + 0xfff + odd) >> 13));
}

__device__ int64_t thread_index() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

}  // namespace

// Resamples the middle axis of (outer, source, inner) bytes to `target`; a thread a byte. first (target), weights
// (target, taps): of source first[t] + k, past the end the last one, which weighs 0.
extern "C" __global__ void resize_pass(const uint8_t* from, const int32_t* first, const int32_t* weights, uint8_t* to,
                                       int64_t outer, int source, int target, int64_t inner, int taps) {
    const int64_t i = thread_index();
    if (i >= outer * target * inner) return;
    const int64_t along = i % inner, line = i / inner;
    const int t = static_cast<int>(line % target);
    const uint8_t* column = from + line / target * source * inner + along;
    int sum = 1 << (FRACTION - 1);
    for (int k = 0; k < taps; ++k)
        sum += weights[static_cast<int64_t>(t) * taps + k] * column[min(first[t] + k, source - 1) * inner];
    sum >>= FRACTION;
    to[i] = static_cast<uint8_t>(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

// ((byte * scale) - mean) / std of a crop (height, width), or its bytes; a thread a pixel of the padded result.
// pixels (rows, columns, 3) lie at top, left in the crop; around them it is zero bytes, beyond it `pad`.
extern "C" __global__ void resize_finish(const uint8_t* pixels, void* out, int output, int top, int left, int rows,
                                         int columns, int height, int width, int padded_height, int padded_width,
                                         float pad, float scale, float mean_r, float mean_g, float mean_b, float std_r,
                                         float std_g, float std_b) {
    const int64_t i = thread_index(), plane = static_cast<int64_t>(padded_height) * padded_width;
    if (i >= plane) return;
    const int y = static_cast<int>(i / padded_width), x = static_cast<int>(i % padded_width);
    const bool inside = y >= top && y < top + rows && x >= left && x < left + columns;
    const uint8_t* pixel = pixels + (static_cast<int64_t>(y - top) * columns + (x - left)) * 3;
    const float mean[3] = {mean_r, mean_g, mean_b}, std[3] = {std_r, std_g, std_b};
    for (int c = 0; c < 3; ++c) {
        const uint8_t byte = inside ? pixel[c] : 0;
        if (output == UINT8) {
            static_cast<uint8_t*>(out)[3 * i + c] = byte;
            continue;
        }
        const float normal = __fdiv_rn(__fsub_rn(__fmul_rn(static_cast<float>(byte), scale), mean[c]), std[c]);
        const float value = y < height && x < width ? normal : pad;
        if (output == FLOAT32) static_cast<float*>(out)[c * plane + i] = value;
        if (output == FLOAT16) static_cast<uint16_t*>(out)[c * plane + i] = half_bits(value);
    }
}
