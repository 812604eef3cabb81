// What every op of the C ABI returns, and where its message is.
#ifndef SACCADE_STATUS_H
#define SACCADE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

enum saccade_status {
    SACCADE_OK = 0,
    SACCADE_INVALID = 1,   // an argument breaks what the op's header says
    SACCADE_MEMORY = 2,    // scratch could not be allocated
    SACCADE_UNUSABLE = 3,  // no such candidate, or it cannot run here
    SACCADE_DEVICE = 4,    // the GPU or its driver refused
};

// The message of the last call of this thread that did not return SACCADE_OK.
const char* saccade_error(void);

#ifdef __cplusplus
}
#endif

#endif
