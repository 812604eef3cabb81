#include "driver.h"

#include <dlfcn.h>

#include <cstdio>

namespace saccade::launch {
namespace {

bool resolve(void* library, const char* name, void* place) {
    void* found = dlsym(library, name);
    if (found) *static_cast<void**>(place) = found;
    return found;
}

Driver open() {
    Driver d;
    const auto refuse = [&](const char* what, const char* why) {
        std::snprintf(d.unusable, sizeof d.unusable, "%s: %s", what, why);
        return d;
    };
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return refuse("no CUDA driver", dlerror());
#define SACCADE_RESOLVE(result, name, arguments) \
    if (!resolve(library, #name, &d.name)) return refuse("the CUDA driver is too old, it lacks", #name);
    SACCADE_CUDA_FUNCTIONS(SACCADE_RESOLVE)
#undef SACCADE_RESOLVE
    int status = d.cuInit(0);
    if (status == CUDA_OK) status = d.cuDeviceGetCount(&d.devices);
    const char* text = "no reason given";
    if (status != CUDA_OK) {
        d.cuGetErrorString(status, &text);
        return refuse("the CUDA driver does not start", text);
    }
    if (!d.devices) return refuse("no CUDA device", "the driver sees none");
    return d;
}

}  // namespace

const Driver& driver() {
    static const Driver opened = open();
    return opened;
}

}  // namespace saccade::launch
