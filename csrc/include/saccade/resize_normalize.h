// resize_normalize: Pillow's resampling, a crop and (x * scale - mean) / std, in one pass over the picture.
// kernels/resize_normalize/reference.py is the specification.
#ifndef SACCADE_RESIZE_NORMALIZE_H
#define SACCADE_RESIZE_NORMALIZE_H

#include <stddef.h>
#include <stdint.h>

#include "saccade/parallel.h"
#include "saccade/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum saccade_filter {
    SACCADE_NEAREST,
    SACCADE_BOX,
    SACCADE_BILINEAR,
    SACCADE_HAMMING,
    SACCADE_BICUBIC,
    SACCADE_LANCZOS,
};

enum saccade_output { SACCADE_UINT8, SACCADE_FLOAT32, SACCADE_FLOAT16 };

// Sizes are in pixels, at most 2^24 a side. H W: the picture; RH RW: after resizing; h w: the crop; PH PW: with
// padding.
struct saccade_resize_request {
    const uint8_t* image;  // (H, W, 3) RGB; pixels are 3 bytes apart
    int64_t row_stride;    // bytes from a row to the next, of any sign
    int64_t height, width;
    int32_t filter;      // enum saccade_filter
    float region[4];     // left, top, right, bottom of what is resized: 0 <= left < right <= W, 0 <= top < bottom <= H
    int64_t resized[2];  // RH, RW
    int64_t crop[4];     // top, left, h, w in the resized picture; what lies outside of it is zero bytes
    int32_t output;      // enum saccade_output
    void* out;           // uint8: (h, w, 3), not padded. float32 or float16: (3, PH, PW). Contiguous
    int64_t padded[2];   // PH >= h, PW >= w: pad_value fills the bottom and the right
    float pad_value;     // in the units of the output
    float scale, mean[3], std[3];  // std is not 0
    struct saccade_parallel parallel;
    int64_t parts;  // into how many to split the rows for them
};

// Runs the first usable candidate, or the one named (NULL or "" for the first). Returns an enum saccade_status.
int saccade_resize_normalize(const char* candidate, const struct saccade_resize_request* request);

// Name of candidate `index` in order of priority, NULL past the last one.
const char* saccade_resize_normalize_candidate(int index);

// Why candidate `index` cannot run on this machine; "" if it can.
const char* saccade_resize_normalize_unusable(int index);

#ifdef __cplusplus
}
#endif

#endif
