#include <stdint.h>

#include "plan.h"

#define SACCADE_ISA base
#include "decode_boxes.inc"
