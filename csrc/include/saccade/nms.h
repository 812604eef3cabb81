// nms: greedy non-maximum suppression, exact, within each class. kernels/nms/reference.py is the specification.
#ifndef SACCADE_NMS_H
#define SACCADE_NMS_H

#include <stdint.h>

#include "saccade/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct saccade_nms_request {
    const float* boxes;      // (N, 4) x1 y1 x2 y2, contiguous
    const float* scores;     // (N); NaN drops the box
    const int64_t* classes;  // (N), any values; NULL: all boxes are of one class
    int64_t count;           // N, at most 2^31 - 1
    float iou;               // 0..1; a box is suppressed where its overlap is greater
    int64_t limit;           // most boxes kept, at least 0
    int64_t* kept;           // out, room for min(N, limit): indices by descending score, ties by index
    int64_t kept_count;      // out
};

// Runs the first usable candidate, or the one named (NULL or "" for the first). Returns an enum saccade_status.
int saccade_nms(const char* candidate, struct saccade_nms_request* request);

// Name of candidate `index` in order of priority, NULL past the last one.
const char* saccade_nms_candidate(int index);

// Why candidate `index` cannot run on this machine; "" if it can.
const char* saccade_nms_unusable(int index);

#ifdef __cplusplus
}
#endif

#endif
