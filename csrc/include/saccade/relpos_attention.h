// relpos_attention: attention over a picture with decomposed relative positions, as SAM's encoder has it.
// kernels/relpos_attention/reference.py is the specification.
#ifndef SACCADE_RELPOS_ATTENTION_H
#define SACCADE_RELPOS_ATTENTION_H

#include <stdint.h>

#include "saccade/dtype.h"
#include "saccade/parallel.h"
#include "saccade/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// An array (B, A, N, X) whose last axis is contiguous.
struct saccade_relpos_array {
    const void* data;
    int64_t stride[3];  // elements from one to the next along B, A, N; of any sign
};

// B: batch; A: heads; N = Hk Wk: places of a picture, row after row; D: numbers a head.
struct saccade_relpos_request {
    int32_t dtype;                        // enum saccade_dtype of every array; computed in float32
    int64_t batch, heads;                 // B, A
    int64_t rows, columns;                // Hk, Wk
    int64_t dim;                          // D, at least 1
    struct saccade_relpos_array q, k, v;  // (B, A, N, D)
    struct saccade_relpos_array rh, rw;   // (B, A, N, Hk), (B, A, N, Wk); a logit below -1e38 counts as -inf
    float scale;                          // of q k^T, finite
    void* out;                            // (B, A, N, D); overlaps no input
    int64_t out_stride[3];
    struct saccade_parallel parallel;  // over B, A and blocks of queries; the bits do not depend on it
};

// Runs the first usable candidate, or the one named (NULL or "" for the first). Returns an enum saccade_status.
int saccade_relpos_attention(const char* candidate, const struct saccade_relpos_request* request);

// Name of candidate `index` in order of priority, NULL past the last one.
const char* saccade_relpos_attention_candidate(int index);

// Why candidate `index` cannot run on this machine; "" if it can.
const char* saccade_relpos_attention_unusable(int index);

#ifdef __cplusplus
}
#endif

#endif
