// Kernels of one op in order of priority, and which of them this CPU can run. For the checked entries only: objects
// compiled for one ISA must not see templates or inline functions (csrc/resize_normalize says why).
#ifndef SACCADE_CSRC_CANDIDATES_H
#define SACCADE_CSRC_CANDIDATES_H

#include <cstddef>
#include <cstring>

namespace saccade {

template <class Kernel>
struct Candidate {
    const char* name;
    const char* (*unusable)();  // the reason; "" if it can run
    const Kernel* kernel;
};

inline const char* runs_anywhere() { return ""; }

#ifdef SACCADE_X86
inline const char* lacks_avx2() {
    return __builtin_cpu_supports("x86-64-v3") ? "" : "the CPU lacks x86-64-v3 (avx2, fma, f16c)";
}

inline const char* lacks_avx512() {
    return __builtin_cpu_supports("x86-64-v4") ? "" : "the CPU lacks x86-64-v4 (avx512f, bw, cd, dq, vl)";
}
#endif

// The first usable, or the one named (NULL or "" for the first); NULL if there is none.
template <class Kernel, size_t N>
const Kernel* choose(const Candidate<Kernel> (&all)[N], const char* name) {
    for (const Candidate<Kernel>& candidate : all) {
        const bool wanted = !name || !*name || std::strcmp(name, candidate.name) == 0;
        if (wanted && !*candidate.unusable()) return candidate.kernel;
    }
    return nullptr;
}

template <class Kernel, size_t N>
const char* name_of(const Candidate<Kernel> (&all)[N], int index) {
    return index >= 0 && static_cast<size_t>(index) < N ? all[index].name : nullptr;
}

template <class Kernel, size_t N>
const char* unusable(const Candidate<Kernel> (&all)[N], int index) {
    return index >= 0 && static_cast<size_t>(index) < N ? all[index].unusable() : "no such candidate";
}

}  // namespace saccade

#endif
