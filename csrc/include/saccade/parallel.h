// How a caller lends threads to an op: a loop of its own. Ops start no threads, and none of their results depends on
// how many there are.
#ifndef SACCADE_PARALLEL_H
#define SACCADE_PARALLEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Calls body(context, i) once for each i of 0..count, in any order and on any threads, and returns when all are done.
typedef void (*saccade_parallel_for)(void* pool, int64_t count, void (*body)(void* context, int64_t index),
                                     void* context);

// One for callers without a pool: threads that are started for the loop and joined. pool: a const int64_t*, how many
// threads with that of the caller. Where the system grants fewer, fewer do the work.
void saccade_threads(void* pool, int64_t count, void (*body)(void* context, int64_t index), void* context);

#ifdef __cplusplus
}
#endif

#endif
