#include <immintrin.h>
#include <stdint.h>

#include "plan.h"

#define SACCADE_ISA avx512vnni

#include "avx512.inc"

namespace saccade::peaks {
namespace {

struct Dot {
    static constexpr bool EXISTS = true;
    static constexpr int OPERATIONS = 2 * 64;

    void step() { total = _mm512_dpbusd_epi32(total, bytes, weights); }
    int32_t sum() const { return _mm512_reduce_add_epi32(total); }

  private:
    __m512i total = _mm512_setzero_si512(), bytes = _mm512_set1_epi8(3), weights = _mm512_set1_epi8(-5);
};

}  // namespace
}  // namespace saccade::peaks

#include "peaks.inc"
