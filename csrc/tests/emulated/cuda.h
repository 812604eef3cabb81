// Enough of CUDA C++ to run a kernel on a CPU, block by block, for tests of its logic. Included before a .cu file.
//
// A thread is a fiber that runs until it waits for its warp or its block; between two waits threads run one after the
// other, in a fresh random order, so what depends on their order seldom comes out the same twice. That finds wrong
// indices, missing barriers and uninitialised results; it says nothing about memory models or speed.
#ifndef SACCADE_TESTS_EMULATED_CUDA_H
#define SACCADE_TESTS_EMULATED_CUDA_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>

#define __global__
#define __device__
#define __launch_bounds__(threads)
#define __shared__ static  // blocks run one after the other

struct Index {
    unsigned x, y, z;
};
struct float4 {
    float x, y, z, w;
};
extern Index threadIdx, blockIdx, blockDim, gridDim;

using std::max;
using std::min;

namespace emulated {

// Waits for the warp or the block. Gives what thread `lane` of the warp handed in (WARP), or whether any thread of the
// block handed in other than 0 (BLOCK).
enum Scope { WARP, BLOCK };
const uint64_t* meet(Scope scope, uint64_t value);

inline int lane() { return static_cast<int>(threadIdx.x % 32); }

template <class To, class From>
To bits(From from) {
    To to;
    static_assert(sizeof to == sizeof from, "");
    memcpy(&to, &from, sizeof to);
    return to;
}

}  // namespace emulated

inline void __syncthreads() { emulated::meet(emulated::BLOCK, 0); }
inline int __syncthreads_or(int value) { return *emulated::meet(emulated::BLOCK, value != 0) != 0; }

inline unsigned __ballot_sync(unsigned, int value) {
    const uint64_t* all = emulated::meet(emulated::WARP, value != 0);
    unsigned word = 0;
    for (int i = 0; i < 32; ++i) word |= static_cast<unsigned>(all[i]) << i;
    return word;
}
inline int __all_sync(unsigned mask, int value) { return __ballot_sync(mask, value) == 0xffffffff; }
inline unsigned __shfl_up_sync(unsigned, unsigned value, unsigned step) {
    const uint64_t* all = emulated::meet(emulated::WARP, value);
    const int from = emulated::lane() - static_cast<int>(step);
    return static_cast<unsigned>(all[from < 0 ? emulated::lane() : from]);
}
inline unsigned __reduce_add_sync(unsigned, unsigned value) {
    const uint64_t* all = emulated::meet(emulated::WARP, value);
    unsigned sum = 0;
    for (int i = 0; i < 32; ++i) sum += static_cast<unsigned>(all[i]);
    return sum;
}
inline unsigned __reduce_max_sync(unsigned, unsigned value) {
    const uint64_t* all = emulated::meet(emulated::WARP, value);
    return static_cast<unsigned>(*std::max_element(all, all + 32));
}

inline unsigned atomicAdd(unsigned* at, unsigned value) { return *at += value, *at - value; }
inline unsigned atomicMax(unsigned* at, unsigned value) {
    const unsigned before = *at;
    *at = std::max(before, value);
    return before;
}

inline float __fadd_rn(float a, float b) { return a + b; }  // compiled with -ffp-contract=off
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline unsigned __float_as_uint(float x) { return emulated::bits<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return emulated::bits<float>(x); }
inline int __float_as_int(float x) { return emulated::bits<int>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }

#endif
