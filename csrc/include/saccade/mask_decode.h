// mask_decode: SAM's low-resolution logits to boxes, areas, stability and COCO run lengths at the size of the original.
// kernels/mask_decode/reference.py is the specification.
#ifndef SACCADE_MASK_DECODE_H
#define SACCADE_MASK_DECODE_H

#include <stdint.h>

#include "saccade/parallel.h"
#include "saccade/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// Sizes are (height, width) in pixels, 1 to 65535 a side. M: masks; h w: the logits; H W: the original.
struct saccade_mask_request {
    const float* low;  // (M, h, w), contiguous
    int64_t masks;
    int64_t size[2];        // h, w
    int64_t model[2];       // what the model saw, at least the size
    int64_t valid[2];       // of it, the picture without its padding, at the top left
    int64_t original[2];    // H, W; H W < 2^31
    float threshold[3];     // of the lower stability area, of the mask, of the upper one: ascending and finite
    int32_t* boxes;         // out, (M, 4) left, top, right, bottom, inclusive; zeros if the mask is empty
    int64_t* area;          // out, (M) pixels
    float* stability;       // out, (M); 0 if the larger area is empty
    uint8_t* const* dense;  // NULL, or (M) places for (H, W) bytes 0 or 1; NULL where none are wanted
    // Takes the compressed run lengths of one mask, in order. Anything but 0 means out of memory and ends the call.
    int (*take)(void* context, const char* counts, int64_t bytes);
    void* context;
    struct saccade_parallel parallel;
    int64_t parts;  // into how many to split the masks for them
};

// Runs the first usable candidate, or the one named (NULL or "" for the first). Returns an enum saccade_status.
int saccade_mask_decode(const char* candidate, const struct saccade_mask_request* request);

// The compressed run lengths of a mask from where it changes, as a GPU leaves it: pixels x H + y, ascending, of an
// original of `pixels`. Needs room for 8 * (count + 1) bytes in `text`. Returns how many it wrote, -1 if out of memory.
int64_t saccade_mask_text(const uint32_t* edges, int64_t count, int64_t pixels, char* text);

// Name of candidate `index` in order of priority, NULL past the last one.
const char* saccade_mask_decode_candidate(int index);

// Why candidate `index` cannot run on this machine; "" if it can.
const char* saccade_mask_decode_unusable(int index);

#ifdef __cplusplus
}
#endif

#endif
