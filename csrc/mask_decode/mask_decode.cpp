// The checked entry: sizes to a plan, then mask by mask and strip by strip through the first usable candidate.
#include "saccade/mask_decode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <string>
#include <vector>

#include "axis.h"
#include "candidates.h"
#include "parallel.h"
#include "plan.h"
#include "runs.h"
#include "status.h"

namespace saccade::mask_decode {

extern const Kernel base;
#ifdef SACCADE_X86
extern const Kernel avx2, avx512;
#elif defined(SACCADE_NEON)
extern const Kernel neon;
#endif

namespace {

const Candidate<Kernel> CANDIDATES[] = {
#ifdef SACCADE_X86
    {"avx512", lacks_avx512, &avx512},
    {"avx2", lacks_avx2, &avx2},
#elif defined(SACCADE_NEON)
    {"neon", runs_anywhere, &neon},
#endif
    {"base", runs_anywhere, &base},
};

const char* trouble(const saccade_mask_request& r) {
    const auto good = [](const int64_t* size) {
        return std::min(size[0], size[1]) >= 1 && std::max(size[0], size[1]) <= 65535;
    };
    if (r.masks < 0) return "the number of masks is negative";
    if (r.masks && (!r.low || !r.boxes || !r.area || !r.stability || !r.take)) return "an array or `take` is null";
    if (!good(r.size) || !good(r.model) || !good(r.valid) || !good(r.original)) return "a size is out of range";
    if (r.original[0] * r.original[1] > 0x7fffffff) return "the original is too large";
    if (r.model[0] < r.size[0] || r.model[1] < r.size[1]) return "the model's size is less than that of the logits";
    if (r.valid[0] > r.model[0] || r.valid[1] > r.model[1]) return "the valid part leaves the model's picture";
    const float* t = r.threshold;
    if (!(t[0] <= t[1] && t[1] <= t[2] && std::fabs(t[0]) < 1e30f && std::fabs(t[2]) < 1e30f))
        return "thresholds are not ascending or too large";
    return "";
}

struct Axes {
    std::array<int64_t, 8> sizes{};
    OwnedAxis y, x;
};

// A thread keeps those of its last call: a click on the same picture needs the same ones, and they cost as much as a
// mask.
const Axes& axes_of(const saccade_mask_request& r) {
    thread_local Axes kept;
    const std::array<int64_t, 8> sizes{r.size[0],  r.size[1],  r.model[0],    r.model[1],
                                       r.valid[0], r.valid[1], r.original[0], r.original[1]};
    if (kept.sizes != sizes) {
        kept.sizes = {};
        kept.y = make_axis(r.size[0], r.model[0], r.valid[0], r.original[0]);
        kept.x = make_axis(r.size[1], r.model[1], r.valid[1], r.original[1]);
        kept.sizes = sizes;
    }
    return kept;
}

// A plan with what it points to, and the scratch for it.
class Work {
  public:
    Work(const saccade_mask_request& r, const Axes& axes) {
        const int64_t height = r.original[0], width = r.original[1];
        for (int64_t y = 0; y < height; ++y) {
            const int32_t first = axes.y.first[static_cast<size_t>(y)];
            if (segments_.empty() || segments_.back().first != first)
                segments_.push_back({first, static_cast<int32_t>(y), 0});
            segments_.back().end = static_cast<int32_t>(y + 1);
        }
        const int64_t used = std::min<int64_t>(segments_.back().first + TAPS, r.size[0]);
        plan = {r.size[0],
                r.size[1],
                height,
                width,
                axes.x.view(),
                axes.y.view(),
                segments_.data(),
                static_cast<int64_t>(segments_.size()),
                used,
                {r.threshold[0], r.threshold[1], r.threshold[2]}};
        const size_t rows = static_cast<size_t>(used + TAPS - 1), words = static_cast<size_t>((height + 63) / 64);
        const size_t groups = static_cast<size_t>((used + BAND - 1) / BAND * ((r.size[1] + STRIP - 1) / STRIP));
        judged_.resize(2 * groups);
        rows_.resize(rows * STRIP);
        flags_.resize(2 * rows);
        bits_.resize(LEVELS * words * 64);
        words_.resize((STRIP + 1) * words);
        edges_.resize(static_cast<size_t>(STRIP * height + EDGE_SLACK));
        scratch.under = judged_.data();
        scratch.over = judged_.data() + groups;
        scratch.rows = rows_.data();
        scratch.below = flags_.data();
        scratch.above = flags_.data() + rows;
        for (size_t level = 0; level < LEVELS; ++level) scratch.bits[level] = bits_.data() + level * words * 64;
        scratch.columns = words_.data();
        scratch.seen = words_.data() + STRIP * words;
        scratch.edges = edges_.data();
    }

    Plan plan;
    Scratch scratch;

    void start() {
        std::fill(scratch.seen, words_.data() + words_.size(), 0);
        std::fill(scratch.area, scratch.area + LEVELS, 0);
        scratch.left = plan.width;
        scratch.right = -1;
        scratch.last = 0;
    }

  private:
    std::vector<Segment> segments_;
    std::vector<float> rows_;
    std::vector<uint16_t> judged_, flags_, bits_;
    std::vector<uint64_t> words_;
    std::vector<uint32_t> edges_;
};

void draw(const Plan& plan, const uint16_t* bits, int64_t x, uint8_t* out) {
    const int64_t columns = std::min<int64_t>(plan.width - x, STRIP);
    for (int64_t y = 0; y < plan.height; ++y)
        for (int64_t c = 0; c < columns; ++c) out[y * plan.width + x + c] = bits[y] >> c & 1;
}

void summarise(const Work& work, int32_t* box, int64_t* area, float* stability) {
    const Scratch& s = work.scratch;
    *area = s.area[MASK];
    *stability = s.area[LOWER] ? static_cast<float>(s.area[UPPER]) / static_cast<float>(s.area[LOWER]) : 0.0f;
    std::fill(box, box + 4, 0);
    if (s.right < s.left) return;
    const int64_t words = (work.plan.height + 63) / 64;
    int64_t top = 0, bottom = words - 1;
    while (!s.seen[top]) ++top;
    while (!s.seen[bottom]) --bottom;
    box[0] = static_cast<int32_t>(s.left);
    box[1] = static_cast<int32_t>(64 * top + __builtin_ctzll(s.seen[top]));
    box[2] = static_cast<int32_t>(s.right);
    box[3] = static_cast<int32_t>(64 * bottom + 63 - __builtin_clzll(s.seen[bottom]));
}

// One mask; its run lengths are in `runs` until the next.
void decode(const Kernel& kernel, const saccade_mask_request& r, int64_t m, Work& work, Runs& runs) {
    const Plan& plan = work.plan;
    const float* low = r.low + m * plan.low_height * plan.low_width;
    uint8_t* dense = r.dense ? r.dense[m] : nullptr;
    work.start();
    runs.clear();
    kernel.judge(plan, low, work.scratch);
    for (int64_t x = 0; x < plan.width; x += STRIP) {
        const int64_t edges = kernel.strip(plan, low, x, dense != nullptr, work.scratch);
        runs.change(work.scratch.edges, edges, x * plan.height);
        if (dense) draw(plan, work.scratch.bits[MASK], x, dense);
    }
    const uint32_t end = 0;
    runs.change(&end, 1, plan.height * plan.width);
    summarise(work, r.boxes + 4 * m, r.area + m, r.stability + m);
}

int run(const Kernel& kernel, const saccade_mask_request& r) {
    Work work(r, axes_of(r));
    Runs runs;
    for (int64_t m = 0; m < r.masks; ++m) {
        decode(kernel, r, m, work, runs);
        if (r.take(r.context, runs.text(), runs.size())) return SACCADE_MEMORY;
    }
    return SACCADE_OK;
}

// A part takes each parts-th mask, since neighbours are often of one size; texts wait until they can go in order.
int run_in_parts(const Kernel& kernel, const saccade_mask_request& r, int64_t parts) {
    const Axes& axes = axes_of(r);
    std::vector<std::string> texts(static_cast<size_t>(r.masks));
    const int status = in_parts(r.parallel, parts, [&](int64_t part) {
        Work work(r, axes);
        Runs runs;
        for (int64_t m = part; m < r.masks; m += parts) {
            decode(kernel, r, m, work, runs);
            texts[static_cast<size_t>(m)].assign(runs.text(), static_cast<size_t>(runs.size()));
        }
    });
    if (status != SACCADE_OK) return status;
    for (const std::string& text : texts)
        if (r.take(r.context, text.data(), static_cast<int64_t>(text.size()))) return SACCADE_MEMORY;
    return SACCADE_OK;
}

}  // namespace
}  // namespace saccade::mask_decode

namespace ours = saccade::mask_decode;

extern "C" {

int saccade_mask_decode(const char* candidate, const struct saccade_mask_request* request) {
    constexpr const char* OP = "mask_decode";
    if (const char* reason = ours::trouble(*request); *reason) return saccade::fail(OP, SACCADE_INVALID, reason);
    const ours::Kernel* chosen = saccade::choose(ours::CANDIDATES, candidate);
    if (!chosen) return saccade::fail(OP, SACCADE_UNUSABLE, "the candidate is unknown or cannot run on this CPU");
    int status = SACCADE_MEMORY;
    try {
        const int64_t parts = request->parallel.run ? std::min(request->parts, request->masks) : 1;
        status = parts > 1 ? ours::run_in_parts(*chosen, *request, parts) : ours::run(*chosen, *request);
    } catch (const std::exception&) {  // only allocation throws
    }
    return status == SACCADE_OK ? status : saccade::fail(OP, status, "out of memory");
}

int64_t saccade_mask_text(const uint32_t* edges, int64_t count, int64_t pixels, char* text) {
    try {
        ours::Runs runs;
        const uint32_t end = 0;
        runs.change(edges, count, 0);
        runs.change(&end, 1, pixels);
        std::copy(runs.text(), runs.text() + runs.size(), text);
        return runs.size();
    } catch (const std::exception&) {  // only allocation throws
        return -1;
    }
}

const char* saccade_mask_decode_candidate(int index) { return saccade::name_of(ours::CANDIDATES, index); }

const char* saccade_mask_decode_unusable(int index) { return saccade::unusable(ours::CANDIDATES, index); }
}
