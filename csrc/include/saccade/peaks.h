// peaks: plain loops that a core does as fast as it can. What a kernel reaches is told as a share of what they reach.
#ifndef SACCADE_PEAKS_H
#define SACCADE_PEAKS_H

#include <stdint.h>

#include "saccade/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum saccade_peak {
    SACCADE_PEAK_READ,   // sum of a
    SACCADE_PEAK_WRITE,  // a = 1
    SACCADE_PEAK_TRIAD,  // a = b + s c
    SACCADE_PEAK_FP32,   // multiply-adds in registers
    SACCADE_PEAK_INT8,   // dot products of four bytes into 32 bits in registers; some CPUs only
};

struct saccade_peaks_request {
    int32_t what;      // enum saccade_peak
    float *a, *b, *c;  // (count) each, contiguous; b and c for the triad only
    int64_t count;     // a multiple of 256, to be far more than fits any cache
    int64_t repeats;   // of the loops in registers
    double done;       // out: bytes read and written by the program, or operations, 2 a multiply-add
};

// Runs the loop once; the caller reads the clock. Candidates are kinds of CPU. Returns an enum saccade_status.
int saccade_peaks(const char* candidate, struct saccade_peaks_request* request);

// Name of candidate `index` in order of priority, NULL past the last one.
const char* saccade_peaks_candidate(int index);

// Why candidate `index` cannot run on this machine; "" if it can.
const char* saccade_peaks_unusable(int index);

#ifdef __cplusplus
}
#endif

#endif
