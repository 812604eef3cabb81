#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "plan.h"
#include "saccade/resize_normalize.h"

#define SACCADE_ISA neon
#include "kernel_neon.inc"
#include "resize_normalize.inc"
