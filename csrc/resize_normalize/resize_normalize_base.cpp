#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "plan.h"
#include "saccade/resize_normalize.h"

#define SACCADE_ISA base
#include "kernel_base.inc"
#include "resize_normalize.inc"
