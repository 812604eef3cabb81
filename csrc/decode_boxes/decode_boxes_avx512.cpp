#include <stdint.h>

#include "plan.h"

#define SACCADE_ISA avx512
#include "decode_boxes.inc"
