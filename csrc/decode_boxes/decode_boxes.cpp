// The checked entry: scans the logits by the first usable candidate, orders what it found, and makes boxes of that.
#include "saccade/decode_boxes.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <vector>

#include "candidates.h"
#include "plan.h"
#include "status.h"

namespace saccade::decode_boxes {

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
    {"base", runs_anywhere, &base},  // on ARM it is NEON already
};

const char* trouble(const saccade_decode_boxes_request& r) {
    constexpr int64_t MOST = std::numeric_limits<int32_t>::max();
    if (r.queries < 0 || r.classes < 0 || r.queries > MOST || r.classes > MOST)
        return "queries or classes out of range";
    if (r.queries * r.classes > MOST) return "too many logits";
    if (r.limit < 0) return "limit is negative";
    if (std::min(r.height, r.width) < 1 || std::max(r.height, r.width) > 1 << 24) return "the picture's size is wrong";
    if (std::isnan(r.above)) return "the threshold is not a number";
    const bool some = r.queries * r.classes > 0, room = some && r.limit > 0;
    if (some && (!r.logits || !r.boxes)) return "logits or boxes is null";
    if (room && !(r.found_boxes && r.found_scores && r.found_classes && r.found_queries)) return "an output is null";
    return "";
}

struct Hit {
    float logit;
    int32_t index;  // query K + class
};

std::vector<Hit> hits(const Kernel& kernel, const saccade_decode_boxes_request& r) {
    constexpr int64_t BLOCK = 4096;
    int32_t found[BLOCK];
    std::vector<Hit> all;
    const int64_t count = r.queries * r.classes;
    for (int64_t from = 0; from < count; from += BLOCK) {
        const int64_t here = kernel.scan(r.logits + from, std::min(BLOCK, count - from), r.above, found);
        for (int64_t i = 0; i < here; ++i)
            all.push_back({r.logits[from + found[i]], static_cast<int32_t>(from) + found[i]});
    }
    return all;
}

float clipped(float value, float most) { return value < 0 ? 0 : value > most ? most : value; }  // NaN stays

void write(const saccade_decode_boxes_request& r, Hit hit, int64_t at) {
    const int64_t query = hit.index / r.classes;
    const float *box = r.boxes + 4 * query, height = static_cast<float>(r.height), width = static_cast<float>(r.width);
    const float x = 0.5f * box[2], y = 0.5f * box[3];
    float* out = r.found_boxes + 4 * at;
    out[0] = clipped((box[0] - x) * width, width);
    out[1] = clipped((box[1] - y) * height, height);
    out[2] = clipped((box[0] + x) * width, width);
    out[3] = clipped((box[1] + y) * height, height);
    r.found_scores[at] = static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(hit.logit))));
    r.found_classes[at] = hit.index % r.classes;
    r.found_queries[at] = query;
}

void run(const Kernel& kernel, saccade_decode_boxes_request& r) {
    std::vector<Hit> found = hits(kernel, r);
    const auto better = [](const Hit& a, const Hit& b) {
        return a.logit > b.logit || (a.logit == b.logit && a.index < b.index);
    };
    r.found = std::min(static_cast<int64_t>(found.size()), r.limit);
    const auto end = found.begin() + r.found;
    if (end != found.end()) std::nth_element(found.begin(), end, found.end(), better);
    std::sort(found.begin(), end, better);
    for (int64_t i = 0; i < r.found; ++i) write(r, found[static_cast<size_t>(i)], i);
}

}  // namespace
}  // namespace saccade::decode_boxes

namespace ours = saccade::decode_boxes;

extern "C" {

int saccade_decode_boxes(const char* candidate, struct saccade_decode_boxes_request* request) {
    constexpr const char* OP = "decode_boxes";
    if (const char* reason = ours::trouble(*request); *reason) return saccade::fail(OP, SACCADE_INVALID, reason);
    const ours::Kernel* chosen = saccade::choose(ours::CANDIDATES, candidate);
    if (!chosen) return saccade::fail(OP, SACCADE_UNUSABLE, "the candidate is unknown or cannot run on this CPU");
    try {
        ours::run(*chosen, *request);
    } catch (const std::exception&) {  // only allocation throws
        return saccade::fail(OP, SACCADE_MEMORY, "out of memory for scratch");
    }
    return SACCADE_OK;
}

const char* saccade_decode_boxes_candidate(int index) { return saccade::name_of(ours::CANDIDATES, index); }

const char* saccade_decode_boxes_unusable(int index) { return saccade::unusable(ours::CANDIDATES, index); }
}
