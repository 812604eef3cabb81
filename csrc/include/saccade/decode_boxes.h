// decode_boxes: a detector's logits and normalised boxes to boxes in pixels, best first.
// kernels/decode_boxes/reference.py is the specification.
#ifndef SACCADE_DECODE_BOXES_H
#define SACCADE_DECODE_BOXES_H

#include <stdint.h>

#include "saccade/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// N: queries; K: classes; H W: the picture.
struct saccade_decode_boxes_request {
    const float* logits;     // (N, K), contiguous; NaN is above nothing
    const float* boxes;      // (N, 4) centre x, centre y, width, height as shares of the picture
    int64_t queries;         // N
    int64_t classes;         // K; N K < 2^31
    int64_t height, width;   // H, W in pixels, 1 to 2^24
    float above;             // a pair of query and class is taken if its logit is greater; not NaN
    int64_t limit;           // most pairs taken, at least 0
    float* found_boxes;      // out, room for min(N K, limit): (M, 4) x1 y1 x2 y2 in pixels
    float* found_scores;     // out, the same room: sigmoid of the logit, descending, ties by query, then class
    int64_t* found_classes;  // out, the same room
    int64_t* found_queries;  // out, the same room
    int64_t found;           // out, M
};

// Runs the first usable candidate, or the one named (NULL or "" for the first). Returns an enum saccade_status.
int saccade_decode_boxes(const char* candidate, struct saccade_decode_boxes_request* request);

// Name of candidate `index` in order of priority, NULL past the last one.
const char* saccade_decode_boxes_candidate(int index);

// Why candidate `index` cannot run on this machine; "" if it can.
const char* saccade_decode_boxes_unusable(int index);

#ifdef __cplusplus
}
#endif

#endif
