// Runs a grid of blocks on this thread.
#ifndef SACCADE_TESTS_EMULATED_GRID_H
#define SACCADE_TESTS_EMULATED_GRID_H

#include <functional>

#include "cuda.h"

namespace emulated {

void run(const std::function<void()>& body, Index grid, unsigned threads);

}

#endif
