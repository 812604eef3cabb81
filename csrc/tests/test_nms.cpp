// Every candidate that this CPU can run against a pair at a time, on heap blocks of the exact size, so that the address
// sanitizer sees each read and write beyond them. tests/kernels has the oracle.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "digest.h"
#include "saccade/nms.h"

namespace {

int failures = 0;

void expect(bool good, const std::string& what) {
    if (good) return;
    std::printf("failed: %s\n", what.c_str());
    ++failures;
}

struct Problem {
    std::vector<float> boxes, scores;
    std::vector<int64_t> classes;
    float iou;
    int64_t limit;

    int64_t count() const { return static_cast<int64_t>(scores.size()); }
};

Problem make(std::mt19937& random) {
    const auto up_to = [&random](int64_t most) { return static_cast<int64_t>(random() % static_cast<uint32_t>(most)); };
    const auto coordinate = [&](int64_t most) { return static_cast<float>(up_to(4 * most)) / 4; };
    const int64_t count = up_to(int64_t{4} << up_to(8));
    Problem p;
    for (int64_t i = 0; i < count; ++i) {
        const float x = coordinate(30), y = coordinate(30);
        for (const float side : {x, y, x + coordinate(8) - 1, y + coordinate(8) - 1})
            p.boxes.push_back(up_to(200) ? side : std::numeric_limits<float>::quiet_NaN());
        p.scores.push_back(up_to(50) ? coordinate(20) - 10 : std::numeric_limits<float>::quiet_NaN());
        p.classes.push_back(up_to(3) - 1);
    }
    p.iou = static_cast<float>(up_to(5)) / 4;
    p.limit = up_to(3) ? count : up_to(20);
    return p;
}

float overlap(const float* a, const float* b) {
    const float width = std::min(a[2], b[2]) - std::max(a[0], b[0]);
    const float height = std::min(a[3], b[3]) - std::max(a[1], b[1]);
    const float common = std::max(width, 0.0f) * std::max(height, 0.0f);
    const float areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]);
    return common / (areas - common);
}

std::vector<int64_t> plain(const Problem& p, bool classes) {
    std::vector<int64_t> order(p.scores.size()), kept;
    std::iota(order.begin(), order.end(), 0);
    order.erase(std::remove_if(order.begin(), order.end(), [&](int64_t i) { return std::isnan(p.scores[size_t(i)]); }),
                order.end());
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t i, int64_t j) { return p.scores[size_t(i)] > p.scores[size_t(j)]; });
    for (const int64_t i : order) {
        const bool stays = std::none_of(kept.begin(), kept.end(), [&](int64_t j) {
            const bool same = !classes || p.classes[size_t(i)] == p.classes[size_t(j)];
            return same && overlap(p.boxes.data() + 4 * i, p.boxes.data() + 4 * j) > p.iou;
        });
        if (stays && static_cast<int64_t>(kept.size()) < p.limit) kept.push_back(i);
    }
    return kept;
}

void candidates_agree(unsigned seed, int count) {
    std::mt19937 random(seed);
    Digest digest;
    for (int i = 0; i < count; ++i) {
        const Problem p = make(random);
        const bool classes = random() % 2;
        const std::vector<int64_t> expected = plain(p, classes);
        digest.add(expected);
        for (int c = 0; const char* name = saccade_nms_candidate(c); ++c) {
            if (*saccade_nms_unusable(c)) continue;
            std::vector<int64_t> kept(static_cast<size_t>(std::min(p.limit, p.count())));
            saccade_nms_request r{p.boxes.data(),
                                  p.scores.data(),
                                  classes ? p.classes.data() : nullptr,
                                  p.count(),
                                  p.iou,
                                  p.limit,
                                  kept.data(),
                                  -1};
            expect(saccade_nms(name, &r) == SACCADE_OK, std::string(name) + " runs");
            kept.resize(static_cast<size_t>(std::max<int64_t>(r.kept_count, 0)));
            expect(kept == expected, std::string(name) + " differs, seed " + std::to_string(seed) + ", case " +
                                         std::to_string(i) + " of " + std::to_string(p.count()) + " boxes");
        }
    }
    digest.print();
}

void wrong_requests_are_refused() {
    const float box[4] = {0, 0, 1, 1}, score = 1;
    int64_t kept;
    const saccade_nms_request good{box, &score, nullptr, 1, 0.5f, 1, &kept, 0};
    const auto status = [&](auto change) {
        saccade_nms_request r = good;
        change(r);
        return saccade_nms("", &r);
    };
    using R = saccade_nms_request;
    expect(status([](R&) {}) == SACCADE_OK, "a good request");
    expect(status([](R& r) { r.boxes = nullptr; }) == SACCADE_INVALID, "null boxes");
    expect(status([](R& r) { r.kept = nullptr; }) == SACCADE_INVALID, "null kept");
    expect(status([](R& r) { r.count = -1; }) == SACCADE_INVALID, "negative count");
    expect(status([](R& r) { r.limit = -1; }) == SACCADE_INVALID, "negative limit");
    expect(status([](R& r) { r.iou = NAN; }) == SACCADE_INVALID, "iou");
    expect(std::strlen(saccade_error()) > 0, "the message is set");
    saccade_nms_request r = good;
    expect(saccade_nms("no such", &r) == SACCADE_UNUSABLE, "unknown candidate");
}

}  // namespace

int main(int argc, char** argv) {
    const unsigned seed = argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : std::random_device{}();
    std::printf("seed %u; candidates:", seed);
    for (int c = 0; const char* name = saccade_nms_candidate(c); ++c)
        std::printf(" %s%s", name, *saccade_nms_unusable(c) ? " (unusable)" : "");
    std::printf("\n");
    candidates_agree(seed, 3000);
    wrong_requests_are_refused();
    return failures ? 1 : 0;
}
