// The checked entry: sorts by score and class, hands each class to the first usable candidate, merges what stayed.
#include "saccade/nms.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <type_traits>
#include <vector>

#include "candidates.h"
#include "plan.h"
#include "status.h"

namespace saccade::nms {

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

const char* trouble(const saccade_nms_request& r) {
    if (r.count < 0 || r.count > std::numeric_limits<int32_t>::max()) return "too many boxes";
    if (r.count && (!r.boxes || !r.scores || (r.limit > 0 && !r.kept))) return "boxes, scores or kept is null";
    if (!(r.iou >= 0 && r.iou <= 1)) return "iou is not within 0 and 1";
    if (r.limit < 0) return "limit is negative";
    return "";
}

// Stable radix sort of `order` by key(index), ascending. Digits that all keys share cost a count and no move.
template <class Key>
void sort_by(std::vector<int32_t>& order, std::vector<int32_t>& other, Key key) {
    using Word = std::make_unsigned_t<decltype(key(0))>;
    constexpr int BITS = 11, SIZE = 1 << BITS;
    for (int shift = 0; shift < static_cast<int>(sizeof(Word) * 8); shift += BITS) {
        const auto digit = [&](int32_t i) { return static_cast<size_t>(static_cast<Word>(key(i)) >> shift) % SIZE; };
        size_t starts[SIZE + 1] = {};
        for (const int32_t i : order) ++starts[digit(i) + 1];
        if (starts[digit(order[0]) + 1] == order.size()) continue;
        for (int d = 0; d < SIZE; ++d) starts[d + 1] += starts[d];
        other.resize(order.size());
        for (const int32_t i : order) other[starts[digit(i)]++] = i;
        order.swap(other);
    }
}

// Ascending as unsigned numbers where the floats descend; -0 and 0 are one.
uint32_t descending(float score) {
    score += 0.0f;
    uint32_t bits;
    std::memcpy(&bits, &score, sizeof bits);
    return bits >> 31 ? bits : ~bits & 0x7fffffff;
}

struct Work {
    std::vector<int32_t> order, other;  // box of each place: by score; then by class, and by score within a class
    std::vector<float> fields;          // (FIELDS, N) by place
    std::vector<float> kept;            // (FIELDS, N + SLACK)
    std::vector<uint8_t> stays;         // by place
    std::vector<uint8_t> chosen;        // by box

    explicit Work(const saccade_nms_request& r) {
        order.reserve(static_cast<size_t>(r.count));
        for (int64_t i = 0; i < r.count; ++i)
            if (!std::isnan(r.scores[i])) order.push_back(static_cast<int32_t>(i));
        if (!order.empty()) sort_by(order, other, [&](int32_t i) { return descending(r.scores[i]); });
    }
};

void gather(const saccade_nms_request& r, const std::vector<int32_t>& order, Work& work) {
    const size_t count = order.size();
    work.fields.resize(FIELDS * count);
    for (size_t place = 0; place < count; ++place) {
        const float* box = r.boxes + 4 * int64_t{order[place]};
        for (size_t f = 0; f < 4; ++f) work.fields[f * count + place] = box[f];
        work.fields[AREA * count + place] = (box[2] - box[0]) * (box[3] - box[1]);
    }
}

void run(const Kernel& kernel, saccade_nms_request& r) {
    Work work(r);
    const size_t count = work.order.size();
    r.kept_count = 0;
    if (!count) return;
    std::vector<int32_t> grouped = work.order;
    if (r.classes) sort_by(grouped, work.other, [&](int32_t i) { return r.classes[i]; });
    gather(r, grouped, work);
    const size_t room = count + SLACK;
    work.kept.assign(FIELDS * room, std::numeric_limits<float>::quiet_NaN());
    work.stays.resize(count);
    for (size_t from = 0, to; from < count; from = to) {
        to = from + 1;
        while (to < count && (!r.classes || r.classes[grouped[to]] == r.classes[grouped[from]])) ++to;
        Group group{{}, static_cast<int64_t>(to - from), r.iou, r.limit, {}, work.stays.data() + from};
        for (size_t f = 0; f < FIELDS; ++f) {
            group.box[f] = work.fields.data() + f * count + from;
            group.kept[f] = work.kept.data() + f * room;
        }
        kernel.run(group);
    }
    work.chosen.resize(static_cast<size_t>(r.count));
    for (size_t place = 0; place < count; ++place) work.chosen[static_cast<size_t>(grouped[place])] = work.stays[place];
    for (const int32_t i : work.order) {
        if (r.kept_count == r.limit) break;
        if (work.chosen[static_cast<size_t>(i)]) r.kept[r.kept_count++] = i;
    }
}

}  // namespace
}  // namespace saccade::nms

namespace ours = saccade::nms;

extern "C" {

int saccade_nms(const char* candidate, struct saccade_nms_request* request) {
    if (const char* reason = ours::trouble(*request); *reason) return saccade::fail("nms", SACCADE_INVALID, reason);
    const ours::Kernel* chosen = saccade::choose(ours::CANDIDATES, candidate);
    if (!chosen) return saccade::fail("nms", SACCADE_UNUSABLE, "the candidate is unknown or cannot run on this CPU");
    try {
        ours::run(*chosen, *request);
    } catch (const std::exception&) {  // only allocation throws
        return saccade::fail("nms", SACCADE_MEMORY, "out of memory for scratch");
    }
    return SACCADE_OK;
}

const char* saccade_nms_candidate(int index) { return saccade::name_of(ours::CANDIDATES, index); }

const char* saccade_nms_unusable(int index) { return saccade::unusable(ours::CANDIDATES, index); }
}
