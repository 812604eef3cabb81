// Every candidate that this CPU can run against sums in double, on heap blocks of the exact size, so that the address
// sanitizer sees each read and write beyond them; in all dtypes, with strides, and over threads. tests/kernels has the
// oracle.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "saccade/relpos_attention.h"

namespace {

int failures = 0;

void expect(bool good, const std::string& what) {
    if (good) return;
    std::printf("failed: %s\n", what.c_str());
    ++failures;
}

// Values that every dtype holds: small multiples of 1/8. So the inputs are the same in all of them.
std::vector<float> values(size_t count, std::mt19937& random) {
    std::vector<float> made(count);
    for (float& value : made) value = static_cast<float>(static_cast<int>(random() % 33) - 16) / 8;
    return made;
}

uint16_t half(float value) {  // exact for the above
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

// An array (B, A, N, X) in any dtype, in a block of exactly its bytes; along N its rows lie `gap` items further apart.
struct Array {
    std::vector<float> plain;
    std::unique_ptr<char[]> block;
    saccade_relpos_array walk{};
    int64_t width;

    Array(int64_t b, int64_t a, int64_t n, int64_t x, int64_t gap, int32_t dtype, std::mt19937& random)
        : plain(values(static_cast<size_t>(b * a * n * x), random)), width(x) {
        const int64_t row = x + gap, size = dtype == SACCADE_F32 ? 4 : 2;
        const int64_t items = std::max<int64_t>(b * a * n * row - gap, 0);
        block.reset(new char[static_cast<size_t>(items * size)]);
        std::memset(block.get(), 0xff, static_cast<size_t>(items * size));  // NaN in the gaps
        for (int64_t r = 0; r < b * a * n; ++r)
            for (int64_t i = 0; i < x; ++i) {
                const float value = plain[static_cast<size_t>(r * x + i)];
                uint32_t bits;
                std::memcpy(&bits, &value, sizeof bits);
                const uint16_t narrow = dtype == SACCADE_F16 ? half(value) : static_cast<uint16_t>(bits >> 16);
                char* const at = block.get() + (r * row + i) * size;
                std::memcpy(at, dtype == SACCADE_F32 ? static_cast<void*>(&bits) : const_cast<uint16_t*>(&narrow),
                            static_cast<size_t>(size));
            }
        walk = {block.get(), {a * n * row, n * row, row}};
    }

    const float* row(int64_t index) const { return plain.data() + index * width; }
};

struct Problem {
    int32_t dtype;
    int64_t b, a, rows, columns, dim;
    Array q, k, v, rh, rw;
    float scale;

    static Problem make(std::mt19937& random) {
        const auto up_to = [&random](int64_t most) { return static_cast<int64_t>(random() % (most + 1)); };
        const int64_t rows = up_to(9), columns = up_to(4) ? up_to(20) : up_to(140), dim = 1 + up_to(90);
        return Problem(static_cast<int32_t>(up_to(2)), up_to(2), up_to(3), rows, columns, dim, up_to(1) * up_to(5),
                       random);
    }

    Problem(int32_t type, int64_t batch, int64_t heads, int64_t hk, int64_t wk, int64_t d, int64_t gap,
            std::mt19937& random)
        : dtype(type),
          b(batch),
          a(heads),
          rows(hk),
          columns(wk),
          dim(d),
          q(b, a, hk * wk, d, gap, type, random),
          k(b, a, hk * wk, d, 0, type, random),
          v(b, a, hk * wk, d, gap, type, random),
          rh(b, a, hk * wk, hk, gap, type, random),
          rw(b, a, hk * wk, wk, 0, type, random),
          scale(static_cast<float>(random() % 8) / 16) {}

    int64_t places() const { return rows * columns; }

    std::vector<char> run(const char* candidate, int64_t threads) const {
        const int64_t size = dtype == SACCADE_F32 ? 4 : 2, n = places();
        std::vector<char> out(static_cast<size_t>(b * a * n * dim * size));
        const saccade_relpos_request r{dtype,
                                       b,
                                       a,
                                       rows,
                                       columns,
                                       dim,
                                       q.walk,
                                       k.walk,
                                       v.walk,
                                       rh.walk,
                                       rw.walk,
                                       scale,
                                       out.data(),
                                       {a * n * dim, n * dim, dim},
                                       threads ? saccade_parallel{saccade_threads, &threads} : saccade_parallel{}};
        expect(saccade_relpos_attention(candidate, &r) == SACCADE_OK, std::string(candidate) + " runs");
        return out;
    }

    std::vector<double> exact(int64_t query) const {
        const int64_t n = places(), first = query / n * n;
        std::vector<double> logits(static_cast<size_t>(n)), out(static_cast<size_t>(dim), 0.0);
        for (int64_t m = 0; m < n; ++m) {
            double dot = 0;
            for (int64_t d = 0; d < dim; ++d) dot += double{q.row(query)[d]} * double{k.row(first + m)[d]};
            logits[static_cast<size_t>(m)] =
                dot * double{scale} + double{rh.row(query)[m / columns]} + double{rw.row(query)[m % columns]};
        }
        const double top = *std::max_element(logits.begin(), logits.end());
        double sum = 0;
        for (int64_t m = 0; m < n; ++m) {
            const double weight = std::exp(logits[static_cast<size_t>(m)] - top);
            sum += weight;
            for (int64_t d = 0; d < dim; ++d) out[static_cast<size_t>(d)] += weight * double{v.row(first + m)[d]};
        }
        for (double& value : out) value /= sum;
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
    for (int64_t query = 0; query < p.b * p.a * p.places(); ++query) {
        const std::vector<double> expected = p.exact(query);
        for (int64_t d = 0; d < p.dim; ++d) {
            const float ours = item(out, query * p.dim + d, p.dtype);
            const double wanted = expected[static_cast<size_t>(d)];
            if (!(std::fabs(double{ours} - wanted) <= 2e-5 + relative * std::fabs(wanted))) {
                expect(false, what + ": query " + std::to_string(query) + ", " + std::to_string(d) + ": " +
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
                                 std::to_string(p.dtype) + ", " + std::to_string(p.rows) + " x " +
                                 std::to_string(p.columns) + " x " + std::to_string(p.dim);
        for (int c = 0; const char* name = saccade_relpos_attention_candidate(c); ++c) {
            if (*saccade_relpos_attention_unusable(c)) continue;
            const std::vector<char> out = p.run(name, 0);
            near(p, out, name + (" " + what));
            expect(p.run(name, 3) == out, std::string(name) + " on three threads, " + what);
        }
    }
}

void wrong_requests_are_refused() {
    float one = 1, out;
    const saccade_relpos_array array{&one, {1, 1, 1}};
    const saccade_relpos_request good{SACCADE_F32, 1,     1,     1, 1,    1,         array, array,
                                      array,       array, array, 1, &out, {1, 1, 1}, {}};
    const auto status = [&](auto change) {
        saccade_relpos_request r = good;
        change(r);
        return saccade_relpos_attention("", &r);
    };
    using R = saccade_relpos_request;
    expect(status([](R&) {}) == SACCADE_OK && out == 1, "a good request");
    expect(status([](R& r) { r.k.data = nullptr; }) == SACCADE_INVALID, "null keys");
    expect(status([](R& r) { r.out = nullptr; }) == SACCADE_INVALID, "null out");
    expect(status([](R& r) { r.dtype = 3; }) == SACCADE_INVALID, "dtype");
    expect(status([](R& r) { r.dim = 0; }) == SACCADE_INVALID, "no numbers");
    expect(status([](R& r) { r.rows = -1; }) == SACCADE_INVALID, "negative rows");
    expect(status([](R& r) { r.rows = r.columns = int64_t{1} << 20; }) == SACCADE_INVALID, "too many places");
    expect(status([](R& r) { r.scale = NAN; }) == SACCADE_INVALID, "scale");
    expect(std::strlen(saccade_error()) > 0, "the message is set");
    expect(status([](R& r) { r.batch = 0, r.q.data = nullptr; }) == SACCADE_OK, "nothing to do");
    expect(saccade_relpos_attention("no such", &good) == SACCADE_UNUSABLE, "unknown candidate");
}

}  // namespace

int main(int argc, char** argv) {
    const unsigned seed = argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : std::random_device{}();
    std::printf("seed %u; candidates:", seed);
    for (int c = 0; const char* name = saccade_relpos_attention_candidate(c); ++c)
        std::printf(" %s%s", name, *saccade_relpos_attention_unusable(c) ? " (unusable)" : "");
    std::printf("\n");
    candidates_agree(seed, 60);
    wrong_requests_are_refused();
    return failures ? 1 : 0;
}
