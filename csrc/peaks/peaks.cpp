// The checked entry.
#include "saccade/peaks.h"

#include "candidates.h"
#include "plan.h"
#include "status.h"

namespace saccade::peaks {

extern const Kernel base;
#ifdef SACCADE_X86
extern const Kernel avx2, avx512, avx512vnni;
#elif defined(SACCADE_NEON)
extern const Kernel neon;
#endif

namespace {

#ifdef SACCADE_X86
const char* lacks_vnni() {
    if (const char* reason = lacks_avx512(); *reason) return reason;
    return __builtin_cpu_supports("avx512vnni") ? "" : "the CPU lacks avx512vnni";
}
#endif

const Candidate<Kernel> CANDIDATES[] = {
#ifdef SACCADE_X86
    {"avx512vnni", lacks_vnni, &avx512vnni},
    {"avx512", lacks_avx512, &avx512},
    {"avx2", lacks_avx2, &avx2},
#elif defined(SACCADE_NEON)
    {"neon", runs_anywhere, &neon},
#endif
    {"base", runs_anywhere, &base},
};

const char* trouble(const saccade_peaks_request& r, const Kernel& kernel) {
    const bool memory = r.what <= SACCADE_PEAK_TRIAD;
    if (r.what < SACCADE_PEAK_READ || r.what > SACCADE_PEAK_INT8) return "no such peak";
    if (memory && (!r.a || r.count < 0 || r.count % STEP)) return "a is null or count is no multiple of 256";
    if (r.what == SACCADE_PEAK_TRIAD && (!r.b || !r.c)) return "b or c is null";
    if (!memory && r.repeats < 0) return "repeats is negative";
    if (r.what == SACCADE_PEAK_INT8 && !kernel.int8) return "the CPU has no dot product of bytes";
    return "";
}

volatile float sink;  // keeps the loops whose results nobody wants

double run(const Kernel& kernel, const saccade_peaks_request& r) {
    const double bytes = static_cast<double>(r.count) * sizeof(float), repeats = static_cast<double>(r.repeats);
    switch (r.what) {
        case SACCADE_PEAK_READ:
            sink = kernel.read(r.a, r.count);
            return bytes;
        case SACCADE_PEAK_WRITE:
            kernel.write(r.a, r.count);
            return bytes;
        case SACCADE_PEAK_TRIAD:
            kernel.triad(r.a, r.b, r.c, r.count);
            return 3 * bytes;
        case SACCADE_PEAK_FP32:
            sink = kernel.fp32(r.repeats);
            return repeats * kernel.fp32_operations;
        default:
            sink = static_cast<float>(kernel.int8(r.repeats));
            return repeats * kernel.int8_operations;
    }
}

}  // namespace
}  // namespace saccade::peaks

namespace ours = saccade::peaks;

extern "C" {

int saccade_peaks(const char* candidate, struct saccade_peaks_request* request) {
    const ours::Kernel* chosen = saccade::choose(ours::CANDIDATES, candidate);
    if (!chosen) return saccade::fail("peaks", SACCADE_UNUSABLE, "the candidate is unknown or cannot run on this CPU");
    if (const char* reason = ours::trouble(*request, *chosen); *reason)
        return saccade::fail("peaks", SACCADE_INVALID, reason);
    request->done = ours::run(*chosen, *request);
    return SACCADE_OK;
}

const char* saccade_peaks_candidate(int index) { return saccade::name_of(ours::CANDIDATES, index); }

const char* saccade_peaks_unusable(int index) { return saccade::unusable(ours::CANDIDATES, index); }
}
