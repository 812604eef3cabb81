// The checked entry: batch, heads and blocks of queries as tasks for the caller's threads.
#include "saccade/relpos_attention.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>

#include "arena.h"
#include "candidates.h"
#include "plan.h"
#include "status.h"

namespace saccade::relpos_attention {

extern const Kernel base;
#ifdef SACCADE_X86
extern const Kernel avx2, avx512;
#endif

namespace {

const Candidate<Kernel> CANDIDATES[] = {
#ifdef SACCADE_X86
    {"avx512", lacks_avx512, &avx512},
    {"avx2", lacks_avx2, &avx2},
#endif
    {"base", runs_anywhere, &base},
};

constexpr int64_t MOST = int64_t{1} << 24;  // of each axis, and places of a picture

const char* trouble(const saccade_relpos_request& r) {
    if (r.dtype < SACCADE_F32 || r.dtype > SACCADE_BF16) return "the dtype is unknown";
    for (const int64_t size : {r.batch, r.heads, r.rows, r.columns, r.dim})
        if (size < 0 || size > MOST) return "a size is out of range";
    if (!r.dim || r.rows * r.columns > MOST) return "a size is out of range";
    if (!std::isfinite(r.scale)) return "the scale is not finite";
    if (!r.batch || !r.heads || !r.rows || !r.columns) return "";
    for (const saccade_relpos_array* array : {&r.q, &r.k, &r.v, &r.rh, &r.rw})
        if (!array->data) return "an array is null";
    return r.out ? "" : "an array is null";
}

struct Call {
    const saccade_relpos_request& request;
    const Kernel& kernel;
    Plan plan;
    int64_t places, block, blocks;
    std::atomic<bool> failed{false};

    Call(const saccade_relpos_request& r, const Kernel& k) : request(r), kernel(k), plan{} {
        const int64_t bytes = r.dtype == SACCADE_F32 ? 4 : 2;
        plan = {r.dtype, r.rows, r.columns, r.dim, r.scale, {}, r.out_stride[2] * bytes};
        const saccade_relpos_array* const arrays[] = {&r.q, &r.k, &r.v, &r.rh, &r.rw};
        for (size_t i = 0; i < 5; ++i) plan.stride[i] = arrays[i]->stride[2] * bytes;
        places = r.rows * r.columns;
        blocks = (places + BLOCK - 1) / BLOCK;
        block = blocks ? up((places + blocks - 1) / blocks, TILE) : 0;
    }

    int64_t bytes_at(const int64_t* stride, int64_t b, int64_t a, int64_t n) const {
        return (b * stride[0] + a * stride[1] + n * stride[2]) * (request.dtype == SACCADE_F32 ? 4 : 2);
    }

    const char* at(const saccade_relpos_array& array, int64_t b, int64_t a, int64_t n) const {
        return static_cast<const char*>(array.data) + bytes_at(array.stride, b, a, n);
    }

    void task(int64_t index) {
        const int64_t a = index / blocks % request.heads, b = index / blocks / request.heads;
        const int64_t first = index % blocks * block, count = std::min(block, places - first);
        if (count <= 0) return;
        thread_local Arena arena;
        const int64_t queries = up(count, TILE), wide = up(plan.dim, PAD);
        std::array<float*, 10> part;
        const std::array<int64_t, 10> sizes{queries * plan.dim, queries * plan.rows, queries * up(plan.columns, PAD),
                                            queries * wide,     queries * PAD,       queries,
                                            KEYS * wide,        wide * KEYS,         KEYS * wide,
                                            GROUP * TILE * KEYS};
        if (!arena.room(sizes, part)) {
            failed = true;
            return;
        }
        const saccade_relpos_request& r = request;
        const Job job{at(r.q, b, a, first),
                      at(r.k, b, a, 0),
                      at(r.v, b, a, 0),
                      at(r.rh, b, a, first),
                      at(r.rw, b, a, first),
                      static_cast<char*>(r.out) + bytes_at(r.out_stride, b, a, first),
                      count};
        kernel.run(plan, job,
                   {part[0], part[1], part[2], part[3], part[4], part[5], part[6], part[7], part[8], part[9]});
    }
};

int run(const Kernel& kernel, const saccade_relpos_request& r) {
    Call call(r, kernel);
    const int64_t tasks = r.batch * r.heads * call.blocks;
    const auto task = [](void* argument, int64_t index) { static_cast<Call*>(argument)->task(index); };
    if (r.parallel.run && tasks > 1)
        r.parallel.run(r.parallel.context, tasks, task, &call);
    else
        for (int64_t i = 0; i < tasks; ++i) call.task(i);
    return call.failed ? SACCADE_MEMORY : SACCADE_OK;
}

}  // namespace
}  // namespace saccade::relpos_attention

namespace ours = saccade::relpos_attention;

extern "C" {

int saccade_relpos_attention(const char* candidate, const struct saccade_relpos_request* request) {
    constexpr const char* OP = "relpos_attention";
    if (const char* reason = ours::trouble(*request); *reason) return saccade::fail(OP, SACCADE_INVALID, reason);
    const ours::Kernel* chosen = saccade::choose(ours::CANDIDATES, candidate);
    if (!chosen) return saccade::fail(OP, SACCADE_UNUSABLE, "the candidate is unknown or cannot run on this CPU");
    const int status = ours::run(*chosen, *request);
    return status == SACCADE_OK ? status : saccade::fail(OP, status, "out of memory for scratch");
}

const char* saccade_relpos_attention_candidate(int index) { return saccade::name_of(ours::CANDIDATES, index); }

const char* saccade_relpos_attention_unusable(int index) { return saccade::unusable(ours::CANDIDATES, index); }
}
