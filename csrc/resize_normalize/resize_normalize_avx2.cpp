#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "plan.h"
#include "saccade/resize_normalize.h"

#define SACCADE_ISA avx2
#include "kernel_avx2.inc"
#include "resize_normalize.inc"
