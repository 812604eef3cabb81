#include <arm_neon.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "plan.h"

#define SACCADE_ISA neon

namespace saccade::mask_decode {
namespace {

constexpr int QUADS = STRIP / 4;
using Quad = float32x4_t;

struct V {
    Quad part[QUADS];
};

inline V load(const float* at) { return {{vld1q_f32(at), vld1q_f32(at + 4), vld1q_f32(at + 8), vld1q_f32(at + 12)}}; }
inline void store(float* at, const V& v) {
    for (int i = 0; i < QUADS; ++i) vst1q_f32(at + 4 * i, v.part[i]);
}
inline V spread(float x) {
    const Quad q = vdupq_n_f32(x);
    return {{q, q, q, q}};
}
inline Quad mix(Quad a, Quad wa, Quad b, Quad wb, Quad c, Quad wc) {
    return vaddq_f32(vaddq_f32(vmulq_f32(a, wa), vmulq_f32(b, wb)), vmulq_f32(c, wc));
}
inline V mix(const V& a, const V& wa, const V& b, const V& wb, const V& c, const V& wc) {
    V v;
    for (int i = 0; i < QUADS; ++i)
        v.part[i] = mix(a.part[i], wa.part[i], b.part[i], wb.part[i], c.part[i], wc.part[i]);
    return v;
}

const uint8_t PLACES[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};

// A bit for each of 16 lanes that are all ones or all zeros: narrowed to bytes, each byte to its bit, added up.
inline uint16_t gathered(uint32x4_t a, uint32x4_t b, uint32x4_t c, uint32x4_t d) {
    const uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
    const uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(c), vreinterpretq_u16_u32(d));
    const uint8x16_t bytes = vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
    const uint8x16_t bits = vandq_u8(bytes, vld1q_u8(PLACES));
    return static_cast<uint16_t>(vaddv_u8(vget_low_u8(bits)) | vaddv_u8(vget_high_u8(bits)) << 8);
}
inline uint16_t above(const V& a, const V& b) {
    return gathered(vcgtq_f32(a.part[0], b.part[0]), vcgtq_f32(a.part[1], b.part[1]), vcgtq_f32(a.part[2], b.part[2]),
                    vcgtq_f32(a.part[3], b.part[3]));
}
inline uint32x4_t within(Quad a, Quad low, Quad high) { return vandq_u32(vcgeq_f32(a, low), vcleq_f32(a, high)); }
inline uint16_t within(const V& a, const V& low, const V& high) {
    return gathered(within(a.part[0], low.part[0], high.part[0]), within(a.part[1], low.part[1], high.part[1]),
                    within(a.part[2], low.part[2], high.part[2]), within(a.part[3], low.part[3], high.part[3]));
}

// Four columns: where their taps lie within 4 or 8 floats, a table look-up of bytes a tap; else lane by lane.
class Columns {
  public:
    Columns() = default;
    Columns(const Plan& plan, int64_t x) : registers(1) {
        const int64_t begin = plan.x.first[x], last = plan.low_width - 1, end = plan.x.first[x + 3] + TAPS;
        const int64_t stop = end < last + 1 ? end : last + 1;
        for (; registers <= 2; ++registers) {
            const int64_t room = plan.low_width - 4 * registers;
            start = begin < room ? begin : room;
            if (start >= 0 && stop - start <= 4 * registers) break;
        }
        if (registers > 2) registers = 0, start = 0;
        for (int t = 0; t < TAPS; ++t) {
            weights[t] = vld1q_f32(plan.x.weights[t] + x);
            uint8_t bytes[16];
            for (int c = 0; c < 4; ++c) {
                const int64_t at = plan.x.first[x + c] + t;
                index[t][c] = (at < last ? at : last) - start;
                for (int b = 0; b < 4; ++b) bytes[4 * c + b] = static_cast<uint8_t>(4 * index[t][c] + b);
            }
            places[t] = vld1q_u8(bytes);
        }
    }

    Quad operator()(const float* row) const {
        Quad taps[TAPS];
        if (registers == 1) {
            const uint8x16_t window = vreinterpretq_u8_f32(vld1q_f32(row + start));
            for (int t = 0; t < TAPS; ++t) taps[t] = vreinterpretq_f32_u8(vqtbl1q_u8(window, places[t]));
        } else if (registers == 2) {
            const uint8x16x2_t window = {
                {vreinterpretq_u8_f32(vld1q_f32(row + start)), vreinterpretq_u8_f32(vld1q_f32(row + start + 4))}};
            for (int t = 0; t < TAPS; ++t) taps[t] = vreinterpretq_f32_u8(vqtbl2q_u8(window, places[t]));
        } else {
            for (int t = 0; t < TAPS; ++t) {
                const float lanes[4] = {row[index[t][0]], row[index[t][1]], row[index[t][2]], row[index[t][3]]};
                taps[t] = vld1q_f32(lanes);
            }
        }
        return mix(taps[0], weights[0], taps[1], weights[1], taps[2], weights[2]);
    }

  private:
    Quad weights[TAPS];
    uint8x16_t places[TAPS];
    int64_t index[TAPS][4];
    int64_t start;
    int registers;
};

class Across {
  public:
    Across(const Plan& plan, int64_t x) {
        for (int i = 0; i < QUADS; ++i) columns[i] = Columns(plan, x + 4 * i);
    }
    V operator()(const float* row) const {
        return {{columns[0](row), columns[1](row), columns[2](row), columns[3](row)}};
    }

  private:
    Columns columns[QUADS];
};

// A column's bit of 64 rows, a byte a row, to one word: each row's bit to its place in the byte of eight rows.
inline uint64_t column(const uint8x16_t* rows, uint8x16_t bit) {
    const uint8x16_t places = vld1q_u8(PLACES);
    uint8x16_t part[4];
    for (int i = 0; i < 4; ++i) part[i] = vandq_u8(vtstq_u8(rows[i], bit), places);
    const uint8x16_t pairs = vpaddq_u8(vpaddq_u8(part[0], part[1]), vpaddq_u8(part[2], part[3]));
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(pairs, pairs)), 0);
}

inline void transpose(const uint16_t* rows, uint64_t* columns, int64_t stride) {
    uint8x16_t low[4], high[4];
    for (int i = 0; i < 4; ++i) {
        const uint8x16_t a = vreinterpretq_u8_u16(vld1q_u16(rows + 16 * i));
        const uint8x16_t b = vreinterpretq_u8_u16(vld1q_u16(rows + 16 * i + 8));
        low[i] = vuzp1q_u8(a, b);
        high[i] = vuzp2q_u8(a, b);
    }
    for (int c = 0; c < 8; ++c) {
        const uint8x16_t bit = vdupq_n_u8(static_cast<uint8_t>(1 << c));
        columns[c * stride] = column(low, bit);
        columns[(8 + c) * stride] = column(high, bit);
    }
}

}  // namespace
}  // namespace saccade::mask_decode

#include "mask_decode.inc"
