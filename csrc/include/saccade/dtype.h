// Element types of ops that take more than one.
#ifndef SACCADE_DTYPE_H
#define SACCADE_DTYPE_H

enum saccade_dtype {
    SACCADE_F32,
    SACCADE_F16,   // IEEE 754 binary16
    SACCADE_BF16,  // the upper half of a float32
};

#endif
