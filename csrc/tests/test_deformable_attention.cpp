// Every candidate that this CPU can run against sums over all pixels in double, on heap blocks of the exact size, so
// that the address sanitizer sees each read and write beyond them; in all dtypes, with strides, and over threads.
// tests/kernels has the oracle.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "saccade/deformable_attention.h"

namespace {

int failures = 0;

void expect(bool good, const std::string& what) {
    if (good) return;
    std::printf("failed: %s\n", what.c_str());
    ++failures;
}

uint16_t half(float value) {  // exact for multiples of 1/64 up to 16
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (value == 0) return 0;
    return static_cast<uint16_t>((bits >> 16 & 0x8000) | (((bits >> 13 & 0x3ffff) - (112u << 10)) & 0x7fff));
}

float single(uint16_t bits, int32_t dtype) {
    if (dtype == SACCADE_BF16) {
        const uint32_t wide = static_cast<uint32_t>(bits) << 16;
        float value;
        std::memcpy(&value, &wide, sizeof value);
        return value;
    }
    const int exponent = bits >> 10 & 31;
    const float size = exponent ? std::ldexp(static_cast<float>((bits & 1023) | 1024), exponent - 25)
                                : std::ldexp(static_cast<float>(bits & 1023), -24);
    return bits >> 15 ? -size : size;
}

// An array (B, M, A, X) in any dtype, in a block of exactly its bytes; behind each X lie `gap` items that are NaN.
// Values are small multiples of 1/64 that every dtype holds, so they are the same in all.
struct Array {
    std::vector<float> plain;
    std::unique_ptr<char[]> block;
    saccade_deformable_array walk{};
    int64_t width;

    Array(int64_t b, int64_t m, int64_t a, int64_t x, int64_t gap, int64_t least, int64_t most, int32_t dtype,
          std::mt19937& random)
        : plain(static_cast<size_t>(b * m * a * x)), width(x) {
        for (float& value : plain)
            value =
                static_cast<float>(least + static_cast<int64_t>(random() % static_cast<unsigned>(most - least))) / 64;
        const int64_t row = x + gap, size = dtype == SACCADE_F32 ? 4 : 2, rows = b * m * a;
        const int64_t bytes = std::max<int64_t>(rows * row - gap, 0) * size;
        block.reset(new char[static_cast<size_t>(bytes)]);
        std::memset(block.get(), 0xff, static_cast<size_t>(bytes));
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t i = 0; i < x; ++i) {
                const float value = plain[static_cast<size_t>(r * x + i)];
                uint32_t bits;
                std::memcpy(&bits, &value, sizeof bits);
                const uint16_t narrow = dtype == SACCADE_F16 ? half(value) : static_cast<uint16_t>(bits >> 16);
                char* const at = block.get() + (r * row + i) * size;
                std::memcpy(at, dtype == SACCADE_F32 ? static_cast<void*>(&bits) : const_cast<uint16_t*>(&narrow),
                            static_cast<size_t>(size));
            }
        walk = {block.get(), {m * a * row, a * row, row}};
    }

    const float* row(int64_t index) const { return plain.data() + index * width; }
};

struct Problem {
    int32_t dtype;
    int64_t b, a, queries, dim, points, places = 0;
    std::vector<int64_t> sizes;
    std::unique_ptr<Array> value, locations, weights;

    static Problem make(std::mt19937& random) {
        const auto up_to = [&random](int64_t most) { return static_cast<int64_t>(random() % (most + 1)); };
        Problem p{};
        p.dtype = static_cast<int32_t>(up_to(2));
        p.b = up_to(2), p.a = up_to(3), p.queries = up_to(12), p.dim = 1 + up_to(90), p.points = up_to(9);
        for (int64_t level = up_to(4); level > 0; --level) {
            const int64_t height = up_to(9), width = up_to(11);
            p.sizes.insert(p.sizes.end(), {height, width});
            p.places += height * width;
        }
        const int64_t gap = up_to(1) * up_to(5), all = p.levels() * p.points;
        p.value = std::make_unique<Array>(p.b, p.places, p.a, p.dim, gap, -128, 128, p.dtype, random);
        p.locations = std::make_unique<Array>(p.b, p.queries, p.a, 2 * all, gap, -12, 76, p.dtype, random);
        p.weights = std::make_unique<Array>(p.b, p.queries, p.a, all, gap, 0, 32, p.dtype, random);
        return p;
    }

    int64_t levels() const { return static_cast<int64_t>(sizes.size()) / 2; }

    saccade_deformable_request request(void* out, const saccade_parallel& parallel) const {
        return {dtype,
                b,
                a,
                places,
                queries,
                dim,
                levels(),
                points,
                sizes.data(),
                value->walk,
                locations->walk,
                weights->walk,
                out,
                {queries * a * dim, a * dim, dim},
                parallel};
    }

    std::vector<char> run(const char* candidate, int64_t threads) const {
        std::vector<char> out(static_cast<size_t>(b * queries * a * dim * (dtype == SACCADE_F32 ? 4 : 2)));
        const auto parallel = threads ? saccade_parallel{saccade_threads, &threads} : saccade_parallel{};
        const saccade_deformable_request r = request(out.data(), parallel);
        expect(saccade_deformable_attention(candidate, &r) == SACCADE_OK, std::string(candidate) + " runs");
        return out;
    }

    // Row (b, n, a) of the answer, from every pixel's distance to every point.
    std::vector<double> exact(int64_t index) const {
        const int64_t head = index % a, picture = index / a / queries;
        const float *const x = locations->row(index), *const w = weights->row(index);
        std::vector<double> out(static_cast<size_t>(dim), 0.0);
        int64_t first = 0;
        for (int64_t level = 0; level < levels(); ++level) {
            const int64_t height = sizes[static_cast<size_t>(2 * level)],
                          width = sizes[static_cast<size_t>(2 * level + 1)];
            for (int64_t t = level * points; t < (level + 1) * points; ++t)
                for (int64_t pixel = 0; pixel < height * width; ++pixel) {
                    const double right = std::fabs(double{x[2 * t]} * static_cast<double>(width) - 0.5 -
                                                   static_cast<double>(pixel % width));
                    const double down = std::fabs(double{x[2 * t + 1]} * static_cast<double>(height) - 0.5 -
                                                  static_cast<double>(pixel / width));
                    const double share = std::max(0.0, 1 - right) * std::max(0.0, 1 - down) * double{w[t]};
                    const float* const from = value->row((picture * places + first + pixel) * a + head);
                    for (int64_t d = 0; share > 0 && d < dim; ++d)
                        out[static_cast<size_t>(d)] += share * double{from[d]};
                }
            first += height * width;
        }
        return out;
    }
};

float item(const std::vector<char>& out, int64_t index, int32_t dtype) {
    float wide;
    uint16_t bits;
    if (dtype == SACCADE_F32) {
        std::memcpy(&wide, out.data() + 4 * index, sizeof wide);
        return wide;
    }
    std::memcpy(&bits, out.data() + 2 * index, sizeof bits);
    return single(bits, dtype);
}

void near(const Problem& p, const std::vector<char>& out, const std::string& what) {
    const double relative = p.dtype == SACCADE_F32 ? 0 : p.dtype == SACCADE_F16 ? 0x1p-11 : 0x1p-8;
    for (int64_t index = 0; index < p.b * p.queries * p.a; ++index) {
        const std::vector<double> expected = p.exact(index);
        for (int64_t d = 0; d < p.dim; ++d) {
            const float ours = item(out, index * p.dim + d, p.dtype);
            const double wanted = expected[static_cast<size_t>(d)];
            if (!(std::fabs(double{ours} - wanted) <= 5e-5 + relative * std::fabs(wanted))) {
                expect(false, what + ": row " + std::to_string(index) + ", " + std::to_string(d) + ": " +
                                  std::to_string(ours) + ", not " + std::to_string(wanted));
                return;
            }
        }
    }
}

void candidates_agree(unsigned seed, int count) {
    std::mt19937 random(seed);
    for (int i = 0; i < count; ++i) {
        const Problem p = Problem::make(random);
        const std::string what = "seed " + std::to_string(seed) + ", case " + std::to_string(i) + ", dtype " +
                                 std::to_string(p.dtype) + ", " + std::to_string(p.levels()) + " levels x " +
                                 std::to_string(p.points) + ", " + std::to_string(p.dim) + " numbers";
        for (int c = 0; const char* name = saccade_deformable_attention_candidate(c); ++c) {
            if (*saccade_deformable_attention_unusable(c)) continue;
            const std::vector<char> out = p.run(name, 0);
            near(p, out, name + (" " + what));
            expect(p.run(name, 3) == out, std::string(name) + " on three threads, " + what);
        }
    }
}

void wrong_requests_are_refused() {
    const float one = 1, middle[2] = {0.5f, 0.5f};
    const int64_t sizes[2] = {1, 1};
    float out = 0;
    const saccade_deformable_request good{
        SACCADE_F32,       1,    1,         1, 1, 1, 1, 1, sizes, {&one, {1, 1, 1}}, {middle, {2, 2, 2}},
        {&one, {1, 1, 1}}, &out, {1, 1, 1}, {}};
    const auto status = [&](auto change) {
        saccade_deformable_request r = good;
        change(r);
        return saccade_deformable_attention("", &r);
    };
    using R = saccade_deformable_request;
    expect(status([](R&) {}) == SACCADE_OK && out == 1, "a good request");
    expect(status([](R& r) { r.value.data = nullptr; }) == SACCADE_INVALID, "null value");
    expect(status([](R& r) { r.locations.data = nullptr; }) == SACCADE_INVALID, "null locations");
    expect(status([](R& r) { r.out = nullptr; }) == SACCADE_INVALID, "null out");
    expect(status([](R& r) { r.sizes = nullptr; }) == SACCADE_INVALID, "null sizes");
    expect(status([](R& r) { r.dtype = 3; }) == SACCADE_INVALID, "dtype");
    expect(status([](R& r) { r.dim = 0; }) == SACCADE_INVALID, "no numbers");
    expect(status([](R& r) { r.queries = -1; }) == SACCADE_INVALID, "negative queries");
    expect(status([](R& r) { r.places = 2; }) == SACCADE_INVALID, "places beyond the levels");
    expect(status([](R& r) { r.places = int64_t{1} << 30; }) == SACCADE_INVALID, "more than 32 bits count");
    expect(status([](R& r) { r.points = int64_t{1} << 25; }) == SACCADE_INVALID, "too many points");
    const int64_t huge[2] = {int64_t{1} << 62, 4}, negative[2] = {-1, -1};
    expect(status([&](R& r) { r.sizes = huge; }) == SACCADE_INVALID, "a huge level");
    expect(status([&](R& r) { r.sizes = negative; }) == SACCADE_INVALID, "a negative level");
    expect(std::strlen(saccade_error()) > 0, "the message is set");
    expect(status([](R& r) { r.batch = 0, r.value.data = nullptr; }) == SACCADE_OK, "nothing to do");
    expect(status([](R& r) { r.points = 0, r.weights.data = nullptr; }) == SACCADE_OK && out == 0, "no points");
    expect(saccade_deformable_attention("no such", &good) == SACCADE_UNUSABLE, "unknown candidate");
}

}  // namespace

int main(int argc, char** argv) {
    const unsigned seed = argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : std::random_device{}();
    std::printf("seed %u; candidates:", seed);
    for (int c = 0; const char* name = saccade_deformable_attention_candidate(c); ++c)
        std::printf(" %s%s", name, *saccade_deformable_attention_unusable(c) ? " (unusable)" : "");
    std::printf("\n");
    candidates_agree(seed, 150);
    wrong_requests_are_refused();
    return failures ? 1 : 0;
}
