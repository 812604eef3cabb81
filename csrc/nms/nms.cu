// Greedy suppression on a GPU, without a word from the host in between:
//
//     scores ──keys──▶ (sorted by the caller) ──gather──▶ fields ──matrix──▶ who suppresses whom ──scan──▶ kept
//
// A kernel for each arrow. kernels/nms/reference.py is the specification, kernels/nms/launch.py the caller; nothing
// here is linked: csrc/launch loads it. Floats are rounded as the reference rounds them, one operation at a time.
#include <stdint.h>

namespace {

enum { X1, Y1, X2, Y2, AREA, FIELDS };
constexpr int COLUMNS = 256;  // boxes that a block of nms_matrix holds in shared memory, and its threads
constexpr int STEP = 1024;    // boxes that nms_scan decides together, and its threads
constexpr int STEP_WORDS = STEP / 32;
constexpr unsigned ALL = 0xffffffff;
constexpr uint32_t DROPPED = 0xffffffff;  // of a score that is NaN: behind all others

// Ascending as unsigned numbers where the floats descend; -0 and 0 are one.
__device__ uint32_t descending(float score) {
    if (score != score) return DROPPED;
    const uint32_t bits = __float_as_uint(__fadd_rn(score, 0.0f));
    return bits >> 31 ? bits : ~bits & 0x7fffffff;
}

struct Tile {
    float field[FIELDS][COLUMNS];
    int64_t classes[COLUMNS];
};

// Whether box `j` of the tile overlaps by more than `iou`. Comparisons with NaN are false, and the area of a box with
// NaN is NaN, so such a box suppresses nothing; nor does one of no width, whatever it divides by.
__device__ bool overlaps(const Tile& tile, int j, const float* box, float iou) {
    const float left = tile.field[X1][j] > box[X1] ? tile.field[X1][j] : box[X1];
    const float top = tile.field[Y1][j] > box[Y1] ? tile.field[Y1][j] : box[Y1];
    const float right = tile.field[X2][j] < box[X2] ? tile.field[X2][j] : box[X2];
    const float bottom = tile.field[Y2][j] < box[Y2] ? tile.field[Y2][j] : box[Y2];
    if (!(right > left && bottom > top)) return false;
    const float common = __fmul_rn(__fsub_rn(right, left), __fsub_rn(bottom, top));
    const float whole = __fsub_rn(__fadd_rn(tile.field[AREA][j], box[AREA]), common);
    return __fdiv_rn(common, whole) > iou;
}

}  // namespace

// One thread a box. keys: score, then index; sorted, they are the order of suppression.
extern "C" __global__ void nms_keys(const float* scores, uint64_t* keys, int32_t* alive, int64_t* kept_count,
                                    int count) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i == 0) {
        *alive = 0;
        *kept_count = 0;
    }
    if (i < count) keys[i] = static_cast<uint64_t>(descending(scores[i])) << 32 | static_cast<uint32_t>(i);
}

// One thread a place in the order. alive: out, how many boxes have a score. classes may be NULL.
extern "C" __global__ void nms_gather(const uint64_t* keys, const float* boxes, const int64_t* classes, float* fields,
                                      int64_t* sorted_classes, int32_t* alive, int count) {
    const int place = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (place >= count) return;
    const uint64_t key = keys[place];
    const int64_t from = static_cast<int64_t>(key & 0xffffffff);
    float box[4];
    for (int f = 0; f < 4; ++f) {
        box[f] = boxes[4 * from + f];
        fields[static_cast<int64_t>(f) * count + place] = box[f];
    }
    fields[static_cast<int64_t>(AREA) * count + place] =
        __fmul_rn(__fsub_rn(box[X2], box[X1]), __fsub_rn(box[Y2], box[Y1]));
    sorted_classes[place] = classes ? classes[from] : 0;
    const bool last = place + 1 == count || keys[place + 1] >> 32 == DROPPED;
    if (key >> 32 != DROPPED && last) *alive = place + 1;
}

// matrix (words, rows): bit b of word w says that box 32 w + b comes before box first + row and suppresses it. Blocks
// of COLUMNS rows and of COLUMNS boxes before them; words beyond a row's own are not written.
extern "C" __global__ void __launch_bounds__(COLUMNS)
    nms_matrix(const float* fields, const int64_t* classes, uint32_t* matrix, int count, int first, int rows,
               float iou) {
    __shared__ Tile tile;
    const int lane = static_cast<int>(threadIdx.x);
    const int row = static_cast<int>(blockIdx.x) * COLUMNS + lane, i = first + row;
    const int start = static_cast<int>(blockIdx.y) * COLUMNS;
    if (start > first + static_cast<int>(blockIdx.x + 1) * COLUMNS) return;  // the whole block
    const int j = start + lane;
    if (j < count) {
        for (int f = 0; f < FIELDS; ++f) tile.field[f][lane] = fields[static_cast<int64_t>(f) * count + j];
        tile.classes[lane] = classes[j];
    }
    __syncthreads();
    if (row >= rows || i >= count) return;
    float box[FIELDS];
    for (int f = 0; f < FIELDS; ++f) box[f] = fields[static_cast<int64_t>(f) * count + i];
    const int64_t kind = classes[i];
    for (int w = 0; w < COLUMNS / 32; ++w) {
        uint32_t bits = 0;
        for (int b = 0; b < 32; ++b) {
            const int at = 32 * w + b;
            if (start + at < i && tile.classes[at] == kind && overlaps(tile, at, box, iou)) bits |= 1u << b;
        }
        matrix[static_cast<int64_t>(start / 32 + w) * rows + row] = bits;
    }
}

// One block. STEP boxes at a time: what stayed before takes its share of them; among themselves, "stays if none that
// stays suppresses it" is repeated until nothing changes. Each box depends on those before it only, so after n rounds
// the first n are right, and there is one answer; rounds are as many as the longest chain, few in practice.
// stayed: a bit a box, of all panels so far. kept and kept_count grow from launch to launch.
extern "C" __global__ void __launch_bounds__(STEP)
    nms_scan(const uint32_t* matrix, const uint64_t* keys, const int32_t* alive, uint32_t* stayed, int64_t* kept,
             int64_t* kept_count, int first, int rows, int64_t limit) {
    __shared__ uint32_t now[STEP_WORDS];
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    const int end = min(first + rows, *alive);
    int64_t before = *kept_count;
    for (int start = first; start < end && before < limit; start += STEP) {
        const int i = start + thread;
        const uint32_t* mine = matrix + (i - first);
        uint32_t hit = 0;
        if (i < end)
            for (int w = 0; w < start / 32; ++w) hit |= mine[static_cast<int64_t>(w) * rows] & stayed[w];
        const bool open = i < end && !hit;
        uint32_t near[STEP_WORDS];
        for (int w = 0; w < STEP_WORDS; ++w)
            near[w] = open && start + 32 * w < i ? mine[static_cast<int64_t>(start / 32 + w) * rows] : 0;
        bool stays = open;
        for (int changed = 1; changed;) {
            const uint32_t word = __ballot_sync(ALL, stays);
            if (lane == 0) now[warp] = word;
            __syncthreads();
            hit = 0;
            for (int w = 0; w < STEP_WORDS; ++w) hit |= near[w] & now[w];
            changed = __syncthreads_or(stays != (open && !hit));
            stays = open && !hit;
        }
        int64_t place = before;
        for (int w = 0; w < STEP_WORDS; ++w) {
            if (w < warp) place += __popc(now[w]);
            before += __popc(now[w]);
        }
        place += __popc(now[warp] & ((1u << lane) - 1));
        if (stays && place < limit) kept[place] = static_cast<int64_t>(keys[i] & 0xffffffff);
        if (lane == 0) stayed[start / 32 + warp] = now[warp];
        __syncthreads();
    }
    if (thread == 0) *kept_count = min(before, limit);
}
