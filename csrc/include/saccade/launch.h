// GPU code to running kernels, by NVIDIA's driver, which is opened when first asked for: nothing of CUDA is linked.
// docs/kernels.md says what a caller promises and what is tested for him.
#ifndef SACCADE_LAUNCH_H
#define SACCADE_LAUNCH_H

#include <stdint.h>

#include "saccade/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// One compilation of a kernel. All variants of a kernel take the same parameters.
struct saccade_gpu_variant {
    const void* image;  // cubin, fatbin, or PTX that ends with a zero byte; copied
    int64_t bytes;
    const char* name;  // of the function in it
    int32_t threads;   // a block
    int32_t shared;    // dynamic shared memory a block, bytes
    // It was compiled on the promise that these parameters are multiples of 16. The launcher tests it.
    const int32_t* divisible;
    int32_t divisible_count;
};

struct saccade_gpu_kernel;

// Why nothing can be launched here, such as "no CUDA driver: ..."; "" if it can.
const char* saccade_gpu_unusable(void);

// Compute capability of a device, 90 for 9.0; and the device that a pointer belongs to. Return an enum saccade_status.
int saccade_gpu_capability(int device, int* capability);
int saccade_gpu_device_of(uint64_t pointer, int* device);

// A kernel of `count` variants, the pickiest first. kinds: a letter a parameter, p pointer, i int32, l int64, f float.
// Needs no driver. Returns an enum saccade_status; on SACCADE_OK, `*kernel` is for saccade_gpu_close.
int saccade_gpu_open(const struct saccade_gpu_variant* variants, int count, const char* kinds,
                     struct saccade_gpu_kernel** kernel);

// What was loaded stays in the device's primary context until the process ends.
void saccade_gpu_close(struct saccade_gpu_kernel* kernel);

// Loads every variant on a device, so that a launch while a graph is captured need not. Returns an enum saccade_status.
int saccade_gpu_load(struct saccade_gpu_kernel* kernel, int device);

// Queues the first variant whose promises these arguments keep, in the primary context of `device`. Does nothing where
// the grid is empty. From any thread. Returns an enum saccade_status.
//   stream: the caller's, NULL for the default one     grid: blocks in x, y, z
//   arguments: 8 bytes a parameter, as `kinds` says; a float is the first 4 of them
//   chosen: out, the index of the variant, -1 for none; may be NULL
int saccade_gpu_launch(struct saccade_gpu_kernel* kernel, int device, void* stream, const int64_t grid[3],
                       const uint64_t* arguments, int* chosen);

#ifdef __cplusplus
}
#endif

#endif
