// deformable_attention: each query samples a few points of a pyramid of feature maps, as Deformable DETR does.
// kernels/deformable_attention/reference.py is the specification.
#ifndef SACCADE_DEFORMABLE_ATTENTION_H
#define SACCADE_DEFORMABLE_ATTENTION_H

#include <stdint.h>

#include "saccade/dtype.h"
#include "saccade/parallel.h"
#include "saccade/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// An array (B, S or N, A, ...) whose axes behind A are contiguous.
struct saccade_deformable_array {
    const void* data;
    int64_t stride[3];  // elements from one to the next along B, S or N, A; of any sign
};

// B: batch; S: pixels of all levels; A: heads; D: numbers a head; N: queries; L: levels; T: points of a level.
struct saccade_deformable_request {
    int32_t dtype;         // enum saccade_dtype of value, locations, weights and out; computed in float32
    int64_t batch, heads;  // B, A
    int64_t places;        // S, the sum of all H W
    int64_t queries;       // N
    int64_t dim;           // D, at least 1; S D < 2^31 with D rounded up to 16
    int64_t levels;        // L
    int64_t points;        // T
    const int64_t* sizes;  // (L, 2) H and W of each level, each at most 2^20
    struct saccade_deformable_array value;      // (B, S, A, D), level after level, row by row
    struct saccade_deformable_array locations;  // (B, N, A, L, T, 2) x and y from 0 to 1
    struct saccade_deformable_array weights;    // (B, N, A, L, T)
    void* out;                                  // (B, N, A, D); overlaps no input
    int64_t out_stride[3];
    struct saccade_parallel parallel;  // over B and A; the bits do not depend on it
};

// Runs the first usable candidate, or the one named (NULL or "" for the first). Returns an enum saccade_status.
int saccade_deformable_attention(const char* candidate, const struct saccade_deformable_request* request);

// Name of candidate `index` in order of priority, NULL past the last one.
const char* saccade_deformable_attention_candidate(int index);

// Why candidate `index` cannot run on this machine; "" if it can.
const char* saccade_deformable_attention_unusable(int index);

#ifdef __cplusplus
}
#endif

#endif
