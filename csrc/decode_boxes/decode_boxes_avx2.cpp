#include <stdint.h>

#include "plan.h"

#define SACCADE_ISA avx2
#include "decode_boxes.inc"
