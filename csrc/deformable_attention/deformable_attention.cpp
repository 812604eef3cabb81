// The checked entry: batch and heads as tasks for the caller's threads.
#include "saccade/deformable_attention.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <vector>

#include "arena.h"
#include "candidates.h"
#include "plan.h"
#include "status.h"

namespace saccade::deformable_attention {

extern const Kernel base;
#ifdef SACCADE_X86
extern const Kernel avx2, avx512;
#endif
#ifdef SACCADE_NEON
extern const Kernel neon;
#endif

namespace {

const Candidate<Kernel> CANDIDATES[] = {
#ifdef SACCADE_X86
    {"avx512", lacks_avx512, &avx512},
    {"avx2", lacks_avx2, &avx2},
#endif
#ifdef SACCADE_NEON
    {"neon", runs_anywhere, &neon},
#endif
    {"base", runs_anywhere, &base},
};

constexpr int64_t MOST = int64_t{1} << 31, SIDE = int64_t{1} << 20, POINTS = int64_t{1} << 24;

const char* trouble(const saccade_deformable_request& r) {
    if (r.dtype < SACCADE_F32 || r.dtype > SACCADE_BF16) return "the dtype is unknown";
    for (const int64_t size : {r.batch, r.heads, r.places, r.queries, r.dim, r.levels, r.points})
        if (size < 0 || size >= MOST) return "a size is out of range";
    if (!r.dim || r.dim > POINTS || r.points > POINTS || r.levels > POINTS) return "a size is out of range";
    if (r.levels * r.points > POINTS || (r.places + 1) * up(r.dim, PAD) >= MOST) return "a size is out of range";
    if (r.levels && !r.sizes) return "the sizes are null";
    int64_t places = 0;
    for (int64_t level = 0; level < r.levels; ++level) {
        const int64_t height = r.sizes[2 * level], width = r.sizes[2 * level + 1];
        if (height < 0 || width < 0 || height > SIDE || width > SIDE) return "the size of a level is out of range";
        places += height * width;
        if (places > r.places) break;
    }
    if (places != r.places) return "the levels have not S places";
    if (!r.batch || !r.heads || !r.queries) return "";
    if (!r.out || (r.places && !r.value.data)) return "an array is null";
    if (!r.levels || !r.points) return "";
    return r.locations.data && r.weights.data ? "" : "an array is null";
}

struct Call {
    const saccade_deformable_request& request;
    const Kernel& kernel;
    Plan plan{};
    std::vector<float> width, height;
    std::vector<int32_t> start, pitch;
    std::atomic<bool> failed{false};

    Call(const saccade_deformable_request& r, const Kernel& k) : request(r), kernel(k) {
        const int64_t points = r.levels * r.points, padded = up(points, PAD), wide = up(r.dim, PAD);
        for (auto* floats : {&width, &height}) floats->resize(static_cast<size_t>(padded));
        for (auto* wholes : {&start, &pitch}) wholes->resize(static_cast<size_t>(padded));
        int64_t first = 0;
        for (int64_t level = 0; level < r.levels; ++level) {
            const int64_t h = r.sizes[2 * level], w = r.sizes[2 * level + 1];
            for (int64_t i = level * r.points; h && w && i < (level + 1) * r.points; ++i) {
                const size_t at = static_cast<size_t>(i);
                width[at] = static_cast<float>(w);
                height[at] = static_cast<float>(h);
                start[at] = static_cast<int32_t>(first * wide);
                pitch[at] = static_cast<int32_t>(w * wide);
            }
            first += h * w;
        }
        plan = {r.dtype,
                r.places,
                r.dim,
                wide,
                points,
                padded,
                r.value.stride[1] * item(),
                r.locations.stride[1] * item(),
                r.weights.stride[1] * item(),
                r.out_stride[1] * item(),
                width.data(),
                height.data(),
                start.data(),
                pitch.data()};
    }

    int64_t item() const { return request.dtype == SACCADE_F32 ? 4 : 2; }

    int64_t bytes_at(const int64_t* stride, int64_t b, int64_t a) const {
        return (b * stride[0] + a * stride[2]) * item();
    }

    const char* at(const saccade_deformable_array& array, int64_t b, int64_t a) const {
        return static_cast<const char*>(array.data) + bytes_at(array.stride, b, a);
    }

    void task(int64_t index) {
        const saccade_deformable_request& r = request;
        const int64_t b = index / r.heads, a = index % r.heads;
        thread_local Arena arena;
        std::array<float*, 6> part;
        const int64_t corners = 4 * BLOCK * plan.padded;
        const std::array<int64_t, 6> sizes{
            (r.places + 1) * plan.wide, 2 * plan.padded, plan.padded, plan.wide, corners, corners};
        if (!arena.room(sizes, part)) {
            failed = true;
            return;
        }
        const Job job{at(r.value, b, a), at(r.locations, b, a), at(r.weights, b, a),
                      static_cast<char*>(r.out) + bytes_at(r.out_stride, b, a), r.queries};
        auto* places = static_cast<int32_t*>(static_cast<void*>(part[5]));
        kernel.run(plan, job, {part[0], part[1], part[2], part[3], part[4], places});
    }
};

int run(const Kernel& kernel, const saccade_deformable_request& r) try {
    const int64_t tasks = r.queries ? r.batch * r.heads : 0;
    if (!tasks) return SACCADE_OK;
    Call call(r, kernel);
    const auto task = [](void* argument, int64_t index) { static_cast<Call*>(argument)->task(index); };
    if (r.parallel.run && tasks > 1)
        r.parallel.run(r.parallel.context, tasks, task, &call);
    else
        for (int64_t i = 0; i < tasks; ++i) call.task(i);
    return call.failed ? SACCADE_MEMORY : SACCADE_OK;
} catch (const std::exception&) {
    return SACCADE_MEMORY;
}

}  // namespace
}  // namespace saccade::deformable_attention

namespace ours = saccade::deformable_attention;

extern "C" {

int saccade_deformable_attention(const char* candidate, const struct saccade_deformable_request* request) {
    constexpr const char* OP = "deformable_attention";
    if (const char* reason = ours::trouble(*request); *reason) return saccade::fail(OP, SACCADE_INVALID, reason);
    const ours::Kernel* chosen = saccade::choose(ours::CANDIDATES, candidate);
    if (!chosen) return saccade::fail(OP, SACCADE_UNUSABLE, "the candidate is unknown or cannot run on this CPU");
    const int status = ours::run(*chosen, *request);
    return status == SACCADE_OK ? status : saccade::fail(OP, status, "out of memory for scratch");
}

const char* saccade_deformable_attention_candidate(int index) { return saccade::name_of(ours::CANDIDATES, index); }

const char* saccade_deformable_attention_unusable(int index) { return saccade::unusable(ours::CANDIDATES, index); }
}
