// The part of NVIDIA's driver interface that the launcher uses. Declared here: its header is not ours to ship.
#ifndef SACCADE_CSRC_LAUNCH_DRIVER_H
#define SACCADE_CSRC_LAUNCH_DRIVER_H

#include <stdint.h>

namespace saccade::launch {

using Handle = void*;  // CUcontext, CUmodule, CUfunction, CUstream
using Device = int;

enum : int { CUDA_OK = 0 };
enum : int { MAJOR = 75, MINOR = 76 };      // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
enum : int { MAX_DYNAMIC_SHARED = 8 };      // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
enum : int { POINTER_DEVICE_ORDINAL = 9 };  // CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL

// cuda.h renames some functions by macro, so here they have the names under which the library exports them.
#define SACCADE_CUDA_FUNCTIONS(X)                                                                                      \
    X(int, cuInit, (unsigned flags))                                                                                   \
    X(int, cuGetErrorString, (int error, const char** text))                                                           \
    X(int, cuDeviceGetCount, (int* count))                                                                             \
    X(int, cuDeviceGet, (Device * device, int ordinal))                                                                \
    X(int, cuDeviceGetAttribute, (int* value, int attribute, Device device))                                           \
    X(int, cuDevicePrimaryCtxRetain, (Handle * context, Device device))                                                \
    X(int, cuCtxPushCurrent_v2, (Handle context))                                                                      \
    X(int, cuCtxPopCurrent_v2, (Handle * context))                                                                     \
    X(int, cuPointerGetAttribute, (void* value, int attribute, uint64_t pointer))                                      \
    X(int, cuModuleLoadData, (Handle * module, const void* image))                                                     \
    X(int, cuModuleGetFunction, (Handle * function, Handle module, const char* name))                                  \
    X(int, cuFuncSetAttribute, (Handle function, int attribute, int value))                                            \
    X(int, cuLaunchKernel,                                                                                             \
      (Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, \
       Handle stream, void** parameters, void** extra))

struct Driver {
#define SACCADE_MEMBER(result, name, arguments) result(*name) arguments = nullptr;
    SACCADE_CUDA_FUNCTIONS(SACCADE_MEMBER)
#undef SACCADE_MEMBER
    int devices = 0;
    char unusable[200] = "";  // the reason; "" if the driver runs
};

// Opened and initialised by the first call. Never closed: its threads may outlive us.
const Driver& driver();

}  // namespace saccade::launch

#endif
