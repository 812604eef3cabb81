// Variants of a kernel, loaded once a context, and the choice among them.
#include "saccade/launch.h"

#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "driver.h"
#include "status.h"

namespace saccade::launch {
namespace {

constexpr int STATIC_SHARED = 48 << 10;  // more of it has to be asked for
constexpr int64_t PROMISE = 16;
constexpr int SCRATCH = 2;  // pointers that Triton adds to every kernel; one without them does not read so far

int refused(int status, const char* what) {
    const char* text = nullptr;
    driver().cuGetErrorString(status, &text);
    const std::string message = std::string(what) + ": " + (text ? text : "unknown error");
    return fail("launch", SACCADE_DEVICE, message.c_str());
}

struct Variant {
    std::vector<char> image;
    std::string name;
    int threads, shared;
    std::vector<int> divisible;
};

// The primary context, kept for the rest of the process: it is the one that CuPy, torch and ONNX Runtime use.
int context_of(int device, Handle* context) {
    static std::mutex lock;
    static std::map<int, Handle> known;
    const std::lock_guard<std::mutex> guard(lock);
    const auto found = known.find(device);
    if (found != known.end()) {
        *context = found->second;
        return SACCADE_OK;
    }
    Device ordinal = 0;
    if (const int status = driver().cuDeviceGet(&ordinal, device)) return refused(status, "no such device");
    if (const int status = driver().cuDevicePrimaryCtxRetain(context, ordinal))
        return refused(status, "the device has no context");
    known[device] = *context;
    return SACCADE_OK;
}

class Current {
  public:
    explicit Current(Handle context) : status(driver().cuCtxPushCurrent_v2(context)) {}
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;
    ~Current() {
        Handle before;
        if (status == CUDA_OK) driver().cuCtxPopCurrent_v2(&before);
    }
    const int status;
};

int load(const Variant& variant, Handle* function) {
    Handle module = nullptr;
    if (const int status = driver().cuModuleLoadData(&module, variant.image.data()))
        return refused(status, ("cannot load " + variant.name).c_str());
    if (const int status = driver().cuModuleGetFunction(function, module, variant.name.c_str()))
        return refused(status, ("there is no " + variant.name + " in the module").c_str());
    if (variant.shared <= STATIC_SHARED) return SACCADE_OK;
    if (const int status = driver().cuFuncSetAttribute(*function, MAX_DYNAMIC_SHARED, variant.shared))
        return refused(status, (variant.name + " needs more shared memory than the device has").c_str());
    return SACCADE_OK;
}

}  // namespace
}  // namespace saccade::launch

namespace ours = saccade::launch;

struct saccade_gpu_kernel {
    std::vector<ours::Variant> variants;
    std::string kinds;
    std::mutex lock;
    std::map<std::pair<ours::Handle, size_t>, ours::Handle> functions;

    // Called with the context current.
    int function(ours::Handle context, size_t variant, ours::Handle* found) {
        const std::lock_guard<std::mutex> guard(lock);
        const auto known = functions.find({context, variant});
        if (known == functions.end()) {
            if (const int status = ours::load(variants[variant], found)) return status;
            functions[{context, variant}] = *found;
            return SACCADE_OK;
        }
        *found = known->second;
        return SACCADE_OK;
    }

    bool keeps(const ours::Variant& variant, const uint64_t* arguments) const {
        for (const int i : variant.divisible) {
            const uint64_t value = kinds[static_cast<size_t>(i)] == 'i' ? arguments[i] & 0xffffffff : arguments[i];
            if (value % ours::PROMISE) return false;
        }
        return true;
    }

    int launch(int device, void* stream, const int64_t* grid, const uint64_t* arguments, int* chosen) {
        size_t at = 0;
        while (at < variants.size() && !keeps(variants[at], arguments)) ++at;
        if (at == variants.size())
            return saccade::fail("launch", SACCADE_INVALID, "no variant takes arguments that are no multiples of 16");
        std::vector<uint64_t> slots(arguments, arguments + kinds.size());
        slots.resize(kinds.size() + ours::SCRATCH, 0);
        std::vector<void*> places;
        for (uint64_t& slot : slots) places.push_back(&slot);
        ours::Handle context = nullptr, function = nullptr;
        if (const int status = ours::context_of(device, &context)) return status;
        const ours::Current current(context);
        if (current.status) return ours::refused(current.status, "the device's context cannot be entered");
        if (const int status = this->function(context, at, &function)) return status;
        const ours::Variant& v = variants[at];
        const auto blocks = [&](int axis) { return static_cast<unsigned>(grid[axis]); };
        if (const int status = ours::driver().cuLaunchKernel(
                function, blocks(0), blocks(1), blocks(2), static_cast<unsigned>(v.threads), 1, 1,
                static_cast<unsigned>(v.shared), stream, places.data(), nullptr))
            return ours::refused(status, ("cannot launch " + v.name).c_str());
        if (chosen) *chosen = static_cast<int>(at);
        return SACCADE_OK;
    }
};

namespace {

constexpr const char* OP = "launch";

const char* trouble(const saccade_gpu_variant* variants, int count, const char* kinds) {
    if (!variants || count < 1 || !kinds) return "a kernel needs a variant and the kinds of its parameters";
    const auto parameters = static_cast<int32_t>(std::strlen(kinds));
    if (std::strspn(kinds, "pilf") != std::strlen(kinds)) return "a kind of parameter is none of p, i, l and f";
    for (const auto* v = variants; v != variants + count; ++v) {
        if (!v->image || v->bytes < 1 || !v->name || v->divisible_count < 0) return "a variant lacks code or a name";
        if (v->threads < 1 || v->threads > 1024 || v->shared < 0) return "a variant's block is out of range";
        for (int32_t i = 0; i < v->divisible_count; ++i) {
            const int32_t at = v->divisible[i];
            if (at < 0 || at >= parameters || kinds[at] == 'f') return "a promise is about no pointer or integer";
        }
    }
    return "";
}

// Runs `body`; what it throws is a lack of memory.
template <class Body>
int guarded(Body body) {
    if (const char* reason = saccade_gpu_unusable(); *reason) return saccade::fail(OP, SACCADE_UNUSABLE, reason);
    try {
        return body();
    } catch (const std::exception&) {
        return saccade::fail(OP, SACCADE_MEMORY, "out of memory");
    }
}

bool known(int device) { return device >= 0 && device < ours::driver().devices; }

}  // namespace

extern "C" {

const char* saccade_gpu_unusable(void) { return ours::driver().unusable; }

int saccade_gpu_capability(int device, int* capability) {
    return guarded([&] {
        if (!known(device)) return saccade::fail(OP, SACCADE_INVALID, "no such device");
        ours::Device ordinal = 0;
        int major = 0, minor = 0, status = ours::driver().cuDeviceGet(&ordinal, device);
        if (!status) status = ours::driver().cuDeviceGetAttribute(&major, ours::MAJOR, ordinal);
        if (!status) status = ours::driver().cuDeviceGetAttribute(&minor, ours::MINOR, ordinal);
        *capability = 10 * major + minor;
        return status ? ours::refused(status, "the device does not say what it is") : int{SACCADE_OK};
    });
}

int saccade_gpu_device_of(uint64_t pointer, int* device) {
    return guarded([&] {
        const int status = ours::driver().cuPointerGetAttribute(device, ours::POINTER_DEVICE_ORDINAL, pointer);
        return status ? ours::refused(status, "the pointer belongs to no device") : int{SACCADE_OK};
    });
}

int saccade_gpu_open(const struct saccade_gpu_variant* variants, int count, const char* kinds,
                     struct saccade_gpu_kernel** kernel) {
    if (const char* reason = trouble(variants, count, kinds); *reason)
        return saccade::fail(OP, SACCADE_INVALID, reason);
    try {
        auto made = std::make_unique<saccade_gpu_kernel>();
        made->kinds = kinds;
        for (const auto* v = variants; v != variants + count; ++v) {
            const char* image = static_cast<const char*>(v->image);
            made->variants.push_back({{image, image + v->bytes}, v->name, v->threads, v->shared, {}});
            made->variants.back().divisible.assign(v->divisible, v->divisible + v->divisible_count);
        }
        *kernel = made.release();
    } catch (const std::exception&) {
        return saccade::fail(OP, SACCADE_MEMORY, "out of memory");
    }
    return SACCADE_OK;
}

void saccade_gpu_close(struct saccade_gpu_kernel* kernel) { delete kernel; }

int saccade_gpu_load(struct saccade_gpu_kernel* kernel, int device) {
    return guarded([&] {
        if (!known(device)) return saccade::fail(OP, SACCADE_INVALID, "no such device");
        ours::Handle context = nullptr, function;
        if (const int status = ours::context_of(device, &context)) return status;
        const ours::Current current(context);
        if (current.status) return ours::refused(current.status, "the device's context cannot be entered");
        for (size_t at = 0; at < kernel->variants.size(); ++at)
            if (const int status = kernel->function(context, at, &function)) return status;
        return int{SACCADE_OK};
    });
}

int saccade_gpu_launch(struct saccade_gpu_kernel* kernel, int device, void* stream, const int64_t grid[3],
                       const uint64_t* arguments, int* chosen) {
    if (chosen) *chosen = -1;
    for (int axis = 0; axis < 3; ++axis) {
        if (grid[axis] < 0 || grid[axis] > (axis ? 65535 : 0x7fffffff))
            return saccade::fail(OP, SACCADE_INVALID, "the grid is out of range");
    }
    return guarded([&] {
        if (!known(device)) return saccade::fail(OP, SACCADE_INVALID, "no such device");
        if (!grid[0] || !grid[1] || !grid[2]) return int{SACCADE_OK};
        return kernel->launch(device, stream, grid, arguments, chosen);
    });
}
}
