// The checked entry: arguments to a plan, a plan to the first usable candidate.
#include "saccade/resize_normalize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <vector>

#include "parallel.h"
#include "status.h"
#include "taps.h"

namespace saccade::resize_normalize {

extern const Kernel base;
#ifdef SACCADE_X86
extern const Kernel avx2, avx512vnni;
#elif defined(SACCADE_NEON)
extern const Kernel neon;
#endif

namespace {

constexpr int LEAST_ROWS = 16;  // of a part: each makes its own tables, and some source rows twice

int fail(int status, const char* text) { return saccade::fail("resize_normalize", status, text); }

struct Candidate {
    const char* name;
    const char* (*unusable)();
    const Kernel* kernel;
    int32_t widest;  // greatest magnitude of a weight that it computes with
};

// In order of priority.
const Candidate CANDIDATES[] = {
#ifdef SACCADE_X86
    {"avx512vnni",
     [] {
         const bool has = __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512vbmi") &&
                          __builtin_cpu_supports("avx512vnni");
         return has ? "" : "the CPU lacks one of x86-64-v4, avx512vbmi, avx512vnni";
     },
     &avx512vnni, (127 << 16) + (127 << 8) + 127},
    {"avx2", [] { return __builtin_cpu_supports("x86-64-v3") ? "" : "the CPU lacks x86-64-v3 (avx2, fma, f16c)"; },
     &avx2, 32767 << 11},
#elif defined(SACCADE_NEON)
    {"neon", [] { return ""; }, &neon, std::numeric_limits<int32_t>::max()},
#endif
    {"base", [] { return ""; }, &base, std::numeric_limits<int32_t>::max()},
};
constexpr int COUNT = sizeof CANDIDATES / sizeof CANDIDATES[0];

const Candidate* choose(const char* name) {
    for (const Candidate& candidate : CANDIDATES) {
        const bool wanted = !name || !*name || std::strcmp(name, candidate.name) == 0;
        if (wanted && !*candidate.unusable()) return &candidate;
    }
    return nullptr;
}

uint16_t half(float value) {  // round to nearest, ties to even, as IEEE 754 and NumPy do
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return sign | 0x7e00;
    if (bits >= 0x477ff000) return sign | 0x7c00;  // 65520 and above
    const int exponent = static_cast<int>(bits >> 23) - 127;
    if (exponent < -25) return sign;
    const int drop = exponent < -14 ? -exponent - 1 : 13;  // below 2^-14 the spacing stays 2^-24
    const uint32_t whole = exponent < -14 ? (bits & 0x7fffff) | 0x800000 : bits - (112u << 23);
    const uint32_t rest = whole & ((1u << drop) - 1), tie = 1u << (drop - 1);
    const uint32_t kept = whole >> drop;
    return static_cast<uint16_t>(sign | (kept + (rest > tie || (rest == tie && (kept & 1)))));
}

const char* trouble(const saccade_resize_request& r) {
    constexpr int64_t MOST = 1 << 24;  // float32 holds whole numbers up to here
    const auto size = [](int64_t n) { return n >= 1 && n <= MOST; };
    if (!r.image || !r.out) return "image or out is null";
    if (!size(r.height) || !size(r.width)) return "image has no pixels or too many";
    if (!size(r.resized[0]) || !size(r.resized[1])) return "resized size is out of range";
    if (!size(r.crop[2]) || !size(r.crop[3])) return "crop size is out of range";
    if (std::max(std::abs(r.crop[0]), std::abs(r.crop[1])) > MOST) return "crop offset is out of range";
    if (r.filter < SACCADE_NEAREST || r.filter > SACCADE_LANCZOS) return "unknown filter";
    if (r.output < SACCADE_UINT8 || r.output > SACCADE_FLOAT16) return "unknown output type";
    const bool x = r.region[0] >= 0 && r.region[0] < r.region[2] && r.region[2] <= static_cast<float>(r.width);
    const bool y = r.region[1] >= 0 && r.region[1] < r.region[3] && r.region[3] <= static_cast<float>(r.height);
    if (!x || !y) return "region is empty or leaves the image";
    if (r.output == SACCADE_UINT8) return "";
    if (!size(r.padded[0]) || !size(r.padded[1])) return "padded size is out of range";
    if (r.padded[0] < r.crop[2] || r.padded[1] < r.crop[3]) return "padded size is less than the crop";
    for (float s : r.std)
        if (s == 0 || !std::isfinite(s)) return "std is zero or not finite";
    return "";
}

// Part of crop begin..begin + size that lies inside the resized axis, empty parts at 0.
struct Span {
    int64_t begin, end, offset;
};

Span inside(int64_t begin, int64_t size, int64_t resized) {
    const int64_t from = std::clamp<int64_t>(begin, 0, resized);
    const int64_t to = std::clamp<int64_t>(begin + size, from, resized);
    return to > from ? Span{from, to, from - begin} : Span{0, 0, 0};
}

void fill_tables(const saccade_resize_request& r, Plan& plan) {
    plan.pad_value = r.pad_value;
    plan.pad_half = half(r.pad_value);
    plan.scale = r.scale;
    for (int c = 0; c < 3; ++c) {
        plan.mean[c] = r.mean[c];
        plan.std[c] = r.std[c];
        for (int byte = 0; byte < 256; ++byte) {
            const float scaled = static_cast<float>(byte) * r.scale;
            const float centred = scaled - r.mean[c];
            plan.floats[c][byte] = centred / r.std[c];
            if (r.output == SACCADE_FLOAT16) plan.halves[c][byte] = half(plan.floats[c][byte]);
        }
    }
}

// Scratch that a thread keeps, since the first touch of fresh pages costs more than a small picture.
struct Keep {
    std::vector<int32_t> x, y;
    std::vector<uint8_t> scratch;

    uint8_t* aligned(size_t bytes) {
        if (scratch.size() < bytes + 64) scratch.resize(bytes + 64);
        return scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64) % 64;
    }

    void shrink() {
        constexpr size_t MOST = 8 << 20;
        if (scratch.size() > MOST) std::vector<uint8_t>().swap(scratch);
        if (x.capacity() * 4 > MOST) std::vector<int32_t>().swap(x);
        if (y.capacity() * 4 > MOST) std::vector<int32_t>().swap(y);
    }
};

int run(const Candidate& candidate, const saccade_resize_request& r) {
    thread_local Keep keep;
    Plan plan;
    Span rows = inside(r.crop[0], r.crop[2], r.resized[0]), columns = inside(r.crop[1], r.crop[3], r.resized[1]);
    if (rows.end == 0 || columns.end == 0) rows = columns = {0, 0, 0};
    plan.image = r.image;
    plan.row_stride = r.row_stride;
    plan.row_bytes = 3 * r.width;
    plan.x = make_taps(r.filter, r.width, r.region[0], r.region[2], r.resized[1], columns.begin, columns.end, keep.x);
    plan.y = make_taps(r.filter, r.height, r.region[1], r.region[3], r.resized[0], rows.begin, rows.end, keep.y);
    // Pillow 13 made this rule; before, the horizontal pass always came first. Rounding between the passes shows it.
    const int64_t shrunk_y = r.height - r.resized[0], shrunk_x = r.width - r.resized[1];
    plan.vertical_first = shrunk_y > 0 && shrunk_y > 2 * shrunk_x && !plan.x.skip && !plan.y.skip;
    plan.output = r.output;
    plan.out = static_cast<uint8_t*>(r.out);
    plan.height = r.crop[2];
    plan.width = r.crop[3];
    plan.padded_height = r.padded[0];
    plan.padded_width = r.padded[1];
    plan.top = rows.offset;
    plan.left = columns.offset;
    if (r.output != SACCADE_UINT8) fill_tables(r, plan);
    const bool fits = std::max(plan.x.widest, plan.y.widest) <= candidate.widest;
    const Kernel& kernel = fits ? *candidate.kernel : base;
    const int64_t parts = r.parallel.run ? std::clamp<int64_t>(r.parts, 1, std::max(plan.y.count / LEAST_ROWS, 1)) : 1;
    const size_t bytes = (kernel.scratch_bytes(plan) + 63) / 64 * 64;
    uint8_t* scratch = keep.aligned(bytes * static_cast<size_t>(parts));
    const int status = in_parts(r.parallel, parts, [&](int64_t part) {
        Plan own = plan;
        own.from = plan.y.count * part / parts;
        own.to = plan.y.count * (part + 1) / parts;
        kernel.run(own, scratch + bytes * static_cast<size_t>(part));
    });
    keep.shrink();
    return status;
}

}  // namespace
}  // namespace saccade::resize_normalize

namespace ours = saccade::resize_normalize;

extern "C" {

int saccade_resize_normalize(const char* candidate, const struct saccade_resize_request* request) {
    if (const char* reason = ours::trouble(*request); *reason) return ours::fail(SACCADE_INVALID, reason);
    const ours::Candidate* chosen = ours::choose(candidate);
    if (!chosen) return ours::fail(SACCADE_UNUSABLE, "the candidate is unknown or cannot run on this CPU");
    try {
        if (ours::run(*chosen, *request) == SACCADE_OK) return SACCADE_OK;
    } catch (const std::exception&) {  // only allocation throws
    }
    return ours::fail(SACCADE_MEMORY, "out of memory for scratch");
}

const char* saccade_resize_normalize_candidate(int index) {
    return index >= 0 && index < ours::COUNT ? ours::CANDIDATES[index].name : nullptr;
}

const char* saccade_resize_normalize_unusable(int index) {
    return index >= 0 && index < ours::COUNT ? ours::CANDIDATES[index].unusable() : "no such candidate";
}
}
