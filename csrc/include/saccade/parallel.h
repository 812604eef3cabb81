// A caller's threads: an op hands its independent parts over and starts no thread of its own.
#ifndef SACCADE_PARALLEL_H
#define SACCADE_PARALLEL_H

#include <stdint.h>

// `run` calls task(argument, i) once for each i from 0 to count - 1, in any order, from any threads, and returns when
// all are done. Tasks do not throw. A NULL `run` means this thread alone.
struct saccade_parallel {
    void (*run)(void* context, int64_t count, void (*task)(void* argument, int64_t index), void* argument);
    void* context;
};

#endif
