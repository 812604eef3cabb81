// Every candidate that this CPU can run against a loop over all pairs, on heap blocks of the exact size, so that the
// address sanitizer sees each read and write beyond them. tests/kernels has the oracle.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "digest.h"
#include "saccade/decode_boxes.h"

namespace {

int failures = 0;

void expect(bool good, const std::string& what) {
    if (good) return;
    std::printf("failed: %s\n", what.c_str());
    ++failures;
}

struct Problem {
    std::vector<float> logits, boxes;
    int64_t queries, classes, limit;
    float above;
};

Problem make(std::mt19937& random) {
    const auto up_to = [&random](int64_t most) { return static_cast<int64_t>(random() % static_cast<uint32_t>(most)); };
    Problem p;
    p.queries = up_to(int64_t{2} << up_to(7));
    p.classes = up_to(int64_t{2} << up_to(7));
    p.limit = up_to(2) ? p.queries * p.classes : up_to(30);
    p.above = static_cast<float>(up_to(5)) - 2;
    for (int64_t i = 0; i < p.queries * p.classes; ++i)
        p.logits.push_back(up_to(50) ? static_cast<float>(up_to(64)) / 4 - 14 : NAN);
    for (int64_t i = 0; i < 4 * p.queries; ++i) p.boxes.push_back(static_cast<float>(up_to(1024)) / 1000);
    return p;
}

struct Found {
    std::vector<float> boxes, scores;
    std::vector<int64_t> classes, queries;

    bool operator==(const Found& other) const {
        return boxes == other.boxes && scores == other.scores && classes == other.classes && queries == other.queries;
    }
};

constexpr int64_t HEIGHT = 480, WIDTH = 641;

Found plain(const Problem& p) {
    std::vector<int64_t> order;
    for (int64_t i = 0; i < p.queries * p.classes; ++i)
        if (p.logits[size_t(i)] > p.above) order.push_back(i);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t i, int64_t j) { return p.logits[size_t(i)] > p.logits[size_t(j)]; });
    order.resize(std::min(order.size(), static_cast<size_t>(p.limit)));
    Found found;
    for (const int64_t i : order) {
        const float* box = p.boxes.data() + i / p.classes * 4;
        for (int end = 0; end < 4; ++end) {
            const float half = (end < 2 ? -0.5f : 0.5f) * box[2 + end % 2], size = end % 2 ? HEIGHT : WIDTH;
            found.boxes.push_back(std::clamp((box[end % 2] + half) * size, 0.0f, size));
        }
        const double logit = static_cast<double>(p.logits[size_t(i)]);
        found.scores.push_back(static_cast<float>(1 / (1 + std::exp(-logit))));
        found.classes.push_back(i % p.classes);
        found.queries.push_back(i / p.classes);
    }
    return found;
}

saccade_decode_boxes_request request(const Problem& p, Found& out) {
    const size_t room = static_cast<size_t>(std::min(p.limit, p.queries * p.classes));
    out.boxes.resize(4 * room);
    out.scores.resize(room);
    out.classes.resize(room);
    out.queries.resize(room);
    return {
        p.logits.data(),  p.boxes.data(),    p.queries,          p.classes,          HEIGHT, WIDTH, p.above, p.limit,
        out.boxes.data(), out.scores.data(), out.classes.data(), out.queries.data(), -1};
}

void candidates_agree(unsigned seed, int count) {
    std::mt19937 random(seed);
    Digest digest;
    for (int i = 0; i < count; ++i) {
        const Problem p = make(random);
        const Found expected = plain(p);
        digest.add(expected.boxes);
        digest.add(expected.queries);
        for (int c = 0; const char* name = saccade_decode_boxes_candidate(c); ++c) {
            if (*saccade_decode_boxes_unusable(c)) continue;
            Found out;
            saccade_decode_boxes_request r = request(p, out);
            expect(saccade_decode_boxes(name, &r) == SACCADE_OK, std::string(name) + " runs");
            const size_t found = static_cast<size_t>(std::max<int64_t>(r.found, 0));
            out.boxes.resize(4 * found);
            out.scores.resize(found);
            out.classes.resize(found);
            out.queries.resize(found);
            expect(out == expected,
                   std::string(name) + " differs, seed " + std::to_string(seed) + ", case " + std::to_string(i));
        }
    }
    digest.print();
}

void wrong_requests_are_refused() {
    std::mt19937 random(1);
    Problem p;
    do p = make(random);
    while (!p.queries || !p.classes || !p.limit);
    Found out;
    const saccade_decode_boxes_request good = request(p, out);
    const auto status = [&](auto change) {
        saccade_decode_boxes_request r = good;
        change(r);
        return saccade_decode_boxes("", &r);
    };
    using R = saccade_decode_boxes_request;
    expect(status([](R&) {}) == SACCADE_OK, "a good request");
    expect(status([](R& r) { r.logits = nullptr; }) == SACCADE_INVALID, "null logits");
    expect(status([](R& r) { r.found_scores = nullptr; }) == SACCADE_INVALID, "null scores");
    expect(status([](R& r) { r.queries = -1; }) == SACCADE_INVALID, "negative queries");
    expect(status([](R& r) { r.classes = int64_t{1} << 40; }) == SACCADE_INVALID, "too many classes");
    expect(status([](R& r) { r.limit = -1; }) == SACCADE_INVALID, "negative limit");
    expect(status([](R& r) { r.width = 0; }) == SACCADE_INVALID, "no width");
    expect(status([](R& r) { r.above = NAN; }) == SACCADE_INVALID, "threshold");
    expect(std::strlen(saccade_error()) > 0, "the message is set");
    saccade_decode_boxes_request r = good;
    expect(saccade_decode_boxes("no such", &r) == SACCADE_UNUSABLE, "unknown candidate");
}

}  // namespace

int main(int argc, char** argv) {
    const unsigned seed = argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : std::random_device{}();
    std::printf("seed %u; candidates:", seed);
    for (int c = 0; const char* name = saccade_decode_boxes_candidate(c); ++c)
        std::printf(" %s%s", name, *saccade_decode_boxes_unusable(c) ? " (unusable)" : "");
    std::printf("\n");
    candidates_agree(seed, 1000);
    wrong_requests_are_refused();
    return failures ? 1 : 0;
}
