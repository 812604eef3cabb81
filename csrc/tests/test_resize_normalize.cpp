// Every candidate that this CPU can run against `base`, on heap blocks of the exact size, so that the address sanitizer
// sees each read and write beyond them; `base` against sums taken the plain way. tests/kernels has the oracle.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backwards.h"
#include "digest.h"
#include "saccade/resize_normalize.h"

namespace {

int failures = 0;

void expect(bool good, const std::string& what) {
    if (good) return;
    std::printf("failed: %s\n", what.c_str());
    ++failures;
}

struct Problem {
    std::vector<uint8_t> image;
    saccade_resize_request request;

    int64_t values() const {
        const auto& r = request;
        return r.output == SACCADE_UINT8 ? 3 * r.crop[2] * r.crop[3] : 3 * r.padded[0] * r.padded[1];
    }
    size_t bytes() const {
        const size_t size = request.output == SACCADE_FLOAT32 ? 4 : request.output == SACCADE_FLOAT16 ? 2 : 1;
        return static_cast<size_t>(values()) * size;
    }
};

Problem make(std::mt19937& random) {
    const auto up_to = [&random](int64_t most) { return static_cast<int64_t>(random() % static_cast<uint32_t>(most)); };
    const int64_t most = int64_t{4} << up_to(7);
    Problem problem;
    saccade_resize_request& r = problem.request;
    r = {};
    r.height = 1 + up_to(most);
    r.width = 1 + up_to(most);
    for (int axis = 0; axis < 2; ++axis) {
        r.resized[axis] = up_to(5) ? 1 + up_to(most) : axis ? r.width : r.height;
        r.crop[axis] = up_to(2) ? 0 : up_to(r.resized[axis] + 8) - 4;
        r.crop[2 + axis] = up_to(2) ? r.resized[axis] : 1 + up_to(r.resized[axis] + 8);
        r.padded[axis] = r.crop[2 + axis] + up_to(4);
    }
    r.region[2] = static_cast<float>(r.width);
    r.region[3] = static_cast<float>(r.height);
    if (up_to(3) == 0) r.region[0] = r.region[2] * 0.37f;
    if (up_to(3) == 0) r.region[3] = r.region[3] * 0.71f;
    r.filter = static_cast<int32_t>(up_to(6));
    r.output = static_cast<int32_t>(up_to(3));
    r.pad_value = -2.5f;
    r.scale = 1.0f / 255;
    for (int c = 0; c < 3; ++c) {
        r.mean[c] = 0.4f + 0.03f * static_cast<float>(c);
        r.std[c] = up_to(4) ? 0.225f + 0.003f * static_cast<float>(c) : 3.0f;
    }
    problem.image.resize(static_cast<size_t>(3 * r.height * r.width));
    for (uint8_t& byte : problem.image) byte = static_cast<uint8_t>(random() % 3 ? random() : random() % 2 * 255);
    r.image = problem.image.data();
    r.row_stride = 3 * r.width;
    if (up_to(2)) {  // upside down
        r.image += (r.height - 1) * r.row_stride;
        r.row_stride = -r.row_stride;
    }
    return problem;
}

std::vector<uint8_t> run(const char* candidate, Problem& problem) {
    std::vector<uint8_t> out(problem.bytes(), 0xAA);
    problem.request.out = out.data();
    const int status = saccade_resize_normalize(candidate, &problem.request);
    expect(status == SACCADE_OK, std::string(candidate) + ": " + (status ? saccade_error() : ""));
    return out;
}

void candidates_agree(unsigned seed, int count) {
    std::mt19937 random(seed);
    Digest digest;
    for (int i = 0; i < count; ++i) {
        Problem problem = make(random);
        const std::vector<uint8_t> expected = run("base", problem);
        digest.add(expected);
        for (int c = 0; const char* name = saccade_resize_normalize_candidate(c); ++c) {
            if (*saccade_resize_normalize_unusable(c)) continue;
            const std::string where = ", seed " + std::to_string(seed) + ", case " + std::to_string(i);
            expect(run(name, problem) == expected, std::string(name) + " differs" + where);
            Problem split = problem;
            split.request.parallel.run = backwards;
            split.request.parts = 2 + i % 5;
            expect(run(name, split) == expected, std::string(name) + " in parts differs" + where);
            if (i % 4) continue;
            int64_t threads = 3;
            split.request.parallel = {saccade_threads, &threads};
            expect(run(name, split) == expected, std::string(name) + " on three threads differs" + where);
        }
    }
    digest.print();
}

// Halving with `box` is the mean of four bytes, rounded twice: across, then down.
void halves_by_box() {
    std::vector<uint8_t> image(8 * 6 * 3), out(4 * 3 * 3);
    for (size_t i = 0; i < image.size(); ++i) image[i] = static_cast<uint8_t>(i * 37);
    saccade_resize_request r = {};
    r.image = image.data();
    r.row_stride = 18;
    r.height = 8;
    r.width = 6;
    r.filter = SACCADE_BOX;
    r.region[2] = 6;
    r.region[3] = 8;
    r.resized[0] = r.crop[2] = 4;
    r.resized[1] = r.crop[3] = 3;
    r.out = out.data();
    expect(saccade_resize_normalize("base", &r) == SACCADE_OK, "box runs");
    for (size_t y = 0; y < 4; ++y)
        for (size_t x = 0; x < 9; ++x) {
            const uint8_t* at = image.data() + 2 * y * 18 + x / 3 * 6 + x % 3;
            const int across[2] = {(at[0] + at[3] + 1) / 2, (at[18] + at[21] + 1) / 2};
            expect(out[y * 9 + x] == (across[0] + across[1] + 1) / 2, "box is the mean");
        }
}

void wrong_requests_are_refused() {
    std::mt19937 random(1);
    Problem problem = make(random);
    const saccade_resize_request good = problem.request;
    uint8_t byte;
    const auto status = [&](auto change) {
        saccade_resize_request r = good;
        r.out = &byte;
        change(r);
        return saccade_resize_normalize("", &r);
    };
    using R = saccade_resize_request;
    expect(status([](R& r) { r.image = nullptr; }) == SACCADE_INVALID, "null image");
    expect(status([](R& r) { r.height = 0; }) == SACCADE_INVALID, "no rows");
    expect(status([](R& r) { r.resized[1] = 1 << 25; }) == SACCADE_INVALID, "too wide");
    expect(status([](R& r) { r.crop[2] = -1; }) == SACCADE_INVALID, "negative crop");
    expect(status([](R& r) { r.filter = 9; }) == SACCADE_INVALID, "filter");
    expect(status([](R& r) { r.region[0] = NAN; }) == SACCADE_INVALID, "region");
    expect(std::strlen(saccade_error()) > 0, "the message is set");
    saccade_resize_request r = good;
    r.out = &byte;
    expect(saccade_resize_normalize("no such", &r) == SACCADE_UNUSABLE, "unknown candidate");
}

}  // namespace

int main(int argc, char** argv) {
    const unsigned seed = argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : std::random_device{}();
    std::printf("seed %u; candidates:", seed);
    for (int c = 0; const char* name = saccade_resize_normalize_candidate(c); ++c)
        std::printf(" %s%s", name, *saccade_resize_normalize_unusable(c) ? " (unusable)" : "");
    std::printf("\n");
    candidates_agree(seed, 1500);
    halves_by_box();
    wrong_requests_are_refused();
    return failures ? 1 : 0;
}
