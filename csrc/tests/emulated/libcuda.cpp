// A libcuda.so.1 without a GPU: device memory is the process's own, our CUDA C++ kernels run as emulated grids, and of
// all others the launch is written down.
//
// Compiled with -include cuda.h, which the .cu files need before them.
//
// Environment: STUB_ARCH, the compute capability (90 by default); STUB_LOG, a file that takes a line of JSON a launch.
// Hooks for tests are at the end.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "../../mask_decode/mask_decode.cu"
#include "../../resize_normalize/resize_normalize.cu"
#include "cuda.h"
#include "grid.h"
#define COLUMNS NMS_COLUMNS  // both files have their own, in a namespace without a name
#define ALL NMS_ALL
#include "../../nms/nms.cu"
#undef COLUMNS
#undef ALL

namespace {

template <class T>
char letter() {
    return std::is_pointer<T>::value ? 'p' : std::is_same<T, float>::value ? 'f' : sizeof(T) == 8 ? 'l' : 'i';
}

struct Kernel {
    std::string kinds;
    std::function<void(void**)> call;
};

template <class... A, size_t... I>
Kernel kernel_of(void (*f)(A...), std::index_sequence<I...>) {
    return {{letter<A>()...}, [f](void** p) { f(*static_cast<A*>(p[I])...); }};
}
template <class... A>
Kernel kernel_of(void (*f)(A...)) {
    return kernel_of(f, std::index_sequence_for<A...>{});
}

#define ENTRY(name) {#name, kernel_of(name)}
const std::map<std::string, Kernel> KERNELS = {
    ENTRY(nms_keys),     ENTRY(nms_gather), ENTRY(nms_matrix), ENTRY(nms_scan),    ENTRY(mask_bits),
    ENTRY(mask_columns), ENTRY(mask_edges), ENTRY(mask_dense), ENTRY(resize_pass), ENTRY(resize_finish),
};

// One function of one loaded module. Identical images give different modules, as with the driver.
struct Function {
    std::string name;
    int module, allowed_shared;
};
int context_place, modules = 0, loads = 0, depth = 0, fail_next = 0;
std::map<std::string, int> parameters;  // of kernels that are written down: how many of them to print

int refused() {
    const int code = fail_next;
    fail_next = 0;
    return code;
}

void write_down(const Function& f, const unsigned* grid, const unsigned* block, unsigned shared, void** params) {
    const char* path = getenv("STUB_LOG");
    FILE* log = path ? fopen(path, "a") : nullptr;
    if (!log) return;
    fprintf(log,
            "{\"name\": \"%s\", \"module\": %d, \"grid\": [%u, %u, %u], \"block\": [%u, %u, %u], \"shared\": %u, "
            "\"allowed_shared\": %d, \"params\": [",
            f.name.c_str(), f.module, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared,
            f.allowed_shared);
    const auto known = parameters.find(f.name);
    for (int i = 0; known != parameters.end() && i < known->second; ++i) {
        uint32_t halves[2];  // only the first is surely the caller's
        memcpy(halves, params[i], sizeof halves);
        fprintf(log, "%s[%u, %u]", i ? ", " : "", halves[0], halves[1]);
    }
    fprintf(log, "]}\n");
    fclose(log);
}

int launch(const Function& f, const unsigned* grid, const unsigned* block, unsigned shared, void** params) {
    if (const int code = refused()) return code;
    if (!depth) return 201;                          // CUDA_ERROR_INVALID_CONTEXT
    if (!grid[0] || !grid[1] || !grid[2]) return 1;  // CUDA_ERROR_INVALID_VALUE, as a real one says
    if (shared > 48u << 10 && f.allowed_shared < static_cast<int>(shared)) return 1;
    write_down(f, grid, block, shared, params);
    const auto found = KERNELS.find(f.name);
    if (found != KERNELS.end())
        emulated::run([&] { found->second.call(params); }, {grid[0], grid[1], grid[2]}, block[0]);
    return 0;
}

struct LaunchConfig {  // CUlaunchConfig
    unsigned grid[3], block[3], shared;
    void* stream;
    void* attributes;
    unsigned attribute_count;
};

}  // namespace

extern "C" {

int cuInit(unsigned) { return 0; }
int cuDriverGetVersion(int* version) { return *version = 13000, 0; }
int cuCtxGetDevice(int* device) { return *device = 0, 0; }
int cuCtxGetLimit(size_t* value, int) { return *value = 0, 0; }
int cuCtxSetLimit(int, size_t) { return 0; }
int cuGetErrorString(int error, const char** text) {
    static char said[40];
    snprintf(said, sizeof said, "the stub's error %d", error);
    *text = said;
    return 0;
}
int cuDeviceGetCount(int* count) { return *count = 1, 0; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal, ordinal ? 101 : 0; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
    const int arch = getenv("STUB_ARCH") ? atoi(getenv("STUB_ARCH")) : 90;
    *value = attribute == 75 ? arch / 10 : attribute == 76 ? arch % 10 : 1 << 16;
    return 0;
}
int cuDevicePrimaryCtxRetain(void** context, int) { return *context = &context_place, 0; }
int cuCtxPushCurrent_v2(void*) { return ++depth, 0; }
int cuCtxPopCurrent_v2(void** context) { return *context = &context_place, --depth, 0; }
int cuCtxGetCurrent(void** context) { return *context = depth ? &context_place : nullptr, 0; }
int cuCtxSetCurrent(void*) { return depth = 1, 0; }
int cuPointerGetAttribute(void* value, int attribute, uint64_t pointer) {
    if (attribute == 3) memcpy(value, &pointer, sizeof pointer);  // the pointer itself; else the device
    if (attribute != 3) *static_cast<int*>(value) = 0;
    return 0;
}
int cuModuleLoadData(void** module, const void*) {
    if (const int code = refused()) return code;
    ++loads;
    *module = reinterpret_cast<void*>(static_cast<intptr_t>(++modules));
    return 0;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
    *function = new Function{name, static_cast<int>(reinterpret_cast<intptr_t>(module)), 0};
    return 0;
}
int cuModuleUnload(void*) { return 0; }
int cuFuncGetAttribute(int* value, int attribute, void*) {
    *value = attribute == 0 ? 1024 : 0;  // threads of a block; registers, memory
    return 0;
}
int cuFuncSetAttribute(void* function, int attribute, int value) {
    if (attribute == 8) static_cast<Function*>(function)->allowed_shared = value;
    return 0;
}
int cuFuncSetCacheConfig(void*, int) { return 0; }
int cuStreamIsCapturing(void*, int* status) { return *status = 0, 0; }
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void*, void** params, void**) {
    const unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
    return launch(*static_cast<Function*>(function), grid, block, shared, params);
}
int cuLaunchKernelEx(const LaunchConfig* c, void* function, void** params, void**) {
    return launch(*static_cast<Function*>(function), c->grid, c->block, c->shared, params);
}

// For tests.
const char* stub_kinds(const char* kernel) {
    const auto found = KERNELS.find(kernel);
    return found == KERNELS.end() ? "" : found->second.kinds.c_str();
}
void stub_print(const char* kernel, int count) { parameters[kernel] = count; }
int stub_loads() { return loads; }
int stub_depth() { return depth; }
void stub_fail(int code) { fail_next = code; }
}
