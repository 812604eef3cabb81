// A caller's threads: an op hands its independent parts over, starts no thread of its own, and computes the same bits
// whatever their number.
#ifndef SACCADE_PARALLEL_H
#define SACCADE_PARALLEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Calls body(context, i) once for each i from 0 to count - 1, in any order, on any threads, and returns when all are
// done. Bodies do not throw.
typedef void (*saccade_parallel_for)(void* pool, int64_t count, void (*body)(void* context, int64_t index),
                                     void* context);

// `run` is called with `context` as its pool. A NULL `run` means this thread alone.
struct saccade_parallel {
    saccade_parallel_for run;
    void* context;
};

// One for callers without a pool: threads that are started for the loop and joined. pool: a const int64_t*, how many
// threads with that of the caller. Where the system grants fewer, fewer do the work.
void saccade_threads(void* pool, int64_t count, void (*body)(void* context, int64_t index), void* context);

#ifdef __cplusplus
}
#endif

#endif
