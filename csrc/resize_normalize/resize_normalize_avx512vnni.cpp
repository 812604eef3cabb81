#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "plan.h"
#include "saccade/resize_normalize.h"

#define SACCADE_ISA avx512vnni
#include "kernel_avx512vnni.inc"
#include "resize_normalize.inc"
