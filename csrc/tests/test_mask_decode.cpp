// Every candidate that this CPU can run against `base`, on heap blocks of the exact size, so that the address sanitizer
// sees each read and write beyond them; `base` against itself: run lengths, area, box and dense mask tell of the same
// pixels. tests/kernels has the oracle.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "backwards.h"
#include "digest.h"
#include "saccade/mask_decode.h"

namespace {

int failures = 0;

void expect(bool good, const std::string& what) {
    if (good) return;
    std::printf("failed: %s\n", what.c_str());
    ++failures;
}

struct Result {
    std::vector<int32_t> boxes;
    std::vector<int64_t> area;
    std::vector<float> stability;
    std::vector<std::string> counts;
    std::vector<std::vector<uint8_t>> dense;

    bool operator==(const Result& other) const {
        return boxes == other.boxes && area == other.area && stability == other.stability && counts == other.counts &&
               dense == other.dense;
    }
};

struct Problem {
    std::vector<float> low;
    saccade_mask_request request;
};

Problem make(std::mt19937& random) {
    const auto up_to = [&random](int64_t most) { return static_cast<int64_t>(random() % static_cast<uint32_t>(most)); };
    Problem p;
    saccade_mask_request& r = p.request;
    r = {};
    r.masks = up_to(4);
    const int64_t most = int64_t{4} << up_to(6);
    for (int axis = 0; axis < 2; ++axis) {
        r.size[axis] = 1 + up_to(most);
        r.model[axis] = r.size[axis] + up_to(4 * r.size[axis]);
        r.valid[axis] = 1 + up_to(r.model[axis]);
        r.original[axis] = up_to(9) ? 1 + up_to(3 * most) : r.valid[axis];
    }
    const float apart = static_cast<float>(up_to(3)) / 2;
    for (int level = 0; level < 3; ++level) r.threshold[level] = static_cast<float>(level - 1) * apart;
    p.low.resize(static_cast<size_t>(r.masks * r.size[0] * r.size[1]));
    const float level = static_cast<float>(up_to(3) - 1) * 6;
    for (float& value : p.low) value = level + static_cast<float>(up_to(2001) - 1000) / 300;
    if (!up_to(4))
        for (float& value : p.low)
            if (!up_to(30)) value = up_to(2) ? std::numeric_limits<float>::quiet_NaN() : -INFINITY;
    if (!up_to(3))  // a flat half, so that some bands are decided and their neighbours are not
        for (size_t i = 0; i < p.low.size() / 2; ++i) p.low[i] = up_to(2000) ? 40.0f : 0.5f;
    r.low = p.low.data();
    return p;
}

Result run(const char* candidate, const Problem& p) {
    saccade_mask_request r = p.request;
    const size_t masks = static_cast<size_t>(r.masks);
    Result out;
    out.boxes.resize(4 * masks);
    out.area.resize(masks);
    out.stability.resize(masks);
    out.dense.resize(masks);
    std::vector<uint8_t*> places;
    for (size_t m = 0; m < masks; ++m) {
        out.dense[m].assign(m % 2 ? 0 : static_cast<size_t>(r.original[0] * r.original[1]), 7);
        places.push_back(m % 2 ? nullptr : out.dense[m].data());
    }
    r.boxes = out.boxes.data();
    r.area = out.area.data();
    r.stability = out.stability.data();
    r.dense = places.data();
    r.context = &out.counts;
    r.take = [](void* to, const char* text, int64_t bytes) {
        static_cast<std::vector<std::string>*>(to)->emplace_back(text, static_cast<size_t>(bytes));
        return 0;
    };
    const int status = saccade_mask_decode(candidate, &r);
    expect(status == SACCADE_OK, std::string(candidate) + ": " + (status ? saccade_error() : ""));
    return out;
}

// The pixels of compressed run lengths, column after column.
std::vector<uint8_t> pixels(const std::string& text) {
    std::vector<int64_t> runs;
    std::vector<uint8_t> out;
    for (size_t i = 0; i < text.size();) {
        int64_t value = 0, bits = 0;
        for (int shift = 0;; shift += 5) {
            bits = text[i++] - '0';
            value |= (bits & 31) << shift;
            if (bits & 32) continue;
            if (bits & 16) value |= -(int64_t{1} << (shift + 5));
            break;
        }
        if (runs.size() > 2) value += runs[runs.size() - 2];
        runs.push_back(value);
        out.insert(out.end(), static_cast<size_t>(value), runs.size() % 2 == 0);
    }
    return out;
}

void is_consistent(const Problem& p, const Result& result, const std::string& what) {
    const size_t height = static_cast<size_t>(p.request.original[0]),
                 width = static_cast<size_t>(p.request.original[1]);
    for (size_t m = 0; m < result.counts.size(); ++m) {
        const std::vector<uint8_t> mask = pixels(result.counts[m]);
        expect(mask.size() == height * width, what + ": length of the runs");
        if (mask.size() != height * width) return;
        int64_t area = 0;
        int32_t box[4] = {int32_t(width), int32_t(height), -1, -1};
        bool same = true;
        for (size_t x = 0; x < width; ++x)
            for (size_t y = 0; y < height; ++y) {
                const bool pixel = mask[x * height + y];
                if (!result.dense[m].empty()) same &= result.dense[m][y * width + x] == pixel;
                if (!pixel) continue;
                ++area;
                box[0] = std::min(box[0], int32_t(x));
                box[1] = std::min(box[1], int32_t(y));
                box[2] = std::max(box[2], int32_t(x));
                box[3] = std::max(box[3], int32_t(y));
            }
        if (!area) std::fill(box, box + 4, 0);
        expect(same, what + ": dense mask and runs");
        expect(area == result.area[m], what + ": area");
        expect(std::equal(box, box + 4, result.boxes.begin() + static_cast<int64_t>(4 * m)), what + ": box");
        expect(result.stability[m] >= 0 && result.stability[m] <= 1, what + ": stability");
    }
}

void candidates_agree(unsigned seed, int count) {
    std::mt19937 random(seed);
    Digest digest;
    for (int i = 0; i < count; ++i) {
        const Problem problem = make(random);
        const Result expected = run("base", problem);
        const std::string where = ", seed " + std::to_string(seed) + ", case " + std::to_string(i);
        is_consistent(problem, expected, "base" + where);
        for (const std::string& text : expected.counts) digest.add(text);
        digest.add(expected.area);
        digest.add(expected.stability);
        Problem split = problem;
        split.request.parallel.run = backwards;
        split.request.parts = 2 + i % 3;
        int64_t threads = 3;
        Problem beside = split;
        beside.request.parallel = {saccade_threads, &threads};
        for (int c = 0; const char* name = saccade_mask_decode_candidate(c); ++c) {
            if (*saccade_mask_decode_unusable(c)) continue;
            expect(run(name, problem) == expected, std::string(name) + " differs" + where);
            expect(run(name, split) == expected, std::string(name) + " in parts differs" + where);
            if (i % 4 == 0)
                expect(run(name, beside) == expected, std::string(name) + " on three threads differs" + where);
        }
    }
    digest.print();
}

void wrong_requests_are_refused() {
    float low = 0, stability;
    int32_t box[4];
    int64_t area;
    saccade_mask_request good = {};
    good.low = &low;
    good.masks = 1;
    for (int64_t* size : {good.size, good.model, good.valid, good.original}) size[0] = size[1] = 1;
    good.boxes = box;
    good.area = &area;
    good.stability = &stability;
    good.take = [](void*, const char*, int64_t) { return 0; };
    const auto status = [&](auto change) {
        saccade_mask_request r = good;
        change(r);
        return saccade_mask_decode("", &r);
    };
    using R = saccade_mask_request;
    expect(status([](R&) {}) == SACCADE_OK, "a good request");
    expect(status([](R& r) { r.low = nullptr; }) == SACCADE_INVALID, "null logits");
    expect(status([](R& r) { r.take = nullptr; }) == SACCADE_INVALID, "nobody takes the runs");
    expect(status([](R& r) { r.masks = -1; }) == SACCADE_INVALID, "negative number of masks");
    expect(status([](R& r) { r.size[0] = 2; }) == SACCADE_INVALID, "logits larger than the model");
    expect(status([](R& r) { r.valid[1] = 2; }) == SACCADE_INVALID, "valid beyond the model");
    expect(status([](R& r) { r.original[0] = 70000; }) == SACCADE_INVALID, "too tall");
    expect(status([](R& r) { r.original[0] = r.original[1] = 65535; }) == SACCADE_INVALID, "too large");
    expect(status([](R& r) { r.threshold[0] = 1; }) == SACCADE_INVALID, "thresholds descend");
    expect(status([](R& r) { r.threshold[2] = INFINITY; }) == SACCADE_INVALID, "infinite threshold");
    expect(std::strlen(saccade_error()) > 0, "the message is set");
    expect(status([](R& r) { r.take = [](void*, const char*, int64_t) { return 1; }; }) == SACCADE_MEMORY, "no room");
    saccade_mask_request r = good;
    expect(saccade_mask_decode("no such", &r) == SACCADE_UNUSABLE, "unknown candidate");
}

}  // namespace

int main(int argc, char** argv) {
    const unsigned seed = argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : std::random_device{}();
    std::printf("seed %u; candidates:", seed);
    for (int c = 0; const char* name = saccade_mask_decode_candidate(c); ++c)
        std::printf(" %s%s", name, *saccade_mask_decode_unusable(c) ? " (unusable)" : "");
    std::printf("\n");
    candidates_agree(seed, 2000);
    wrong_requests_are_refused();
    return failures ? 1 : 0;
}
