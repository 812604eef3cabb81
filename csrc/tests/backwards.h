// A parallel-for for tests: last part first, on one thread, so that parts which lean on each other are found each time.
#ifndef SACCADE_TESTS_BACKWARDS_H
#define SACCADE_TESTS_BACKWARDS_H

#include <stdint.h>

inline void backwards(void*, int64_t count, void (*body)(void*, int64_t), void* context) {
    for (int64_t i = count; i-- > 0;) body(context, i);
}

#endif
