#include <immintrin.h>
#include <stdint.h>

#include "plan.h"

#define SACCADE_ISA avx512

#include "avx512.inc"
#include "no_dot.inc"
#include "peaks.inc"
