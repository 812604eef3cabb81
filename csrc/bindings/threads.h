// Threads for one call, where no engine lends its own.
#ifndef SACCADE_BINDINGS_THREADS_H
#define SACCADE_BINDINGS_THREADS_H

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

#include "saccade/parallel.h"

namespace saccade {

// `threads` of them, the caller's among them; fewer where the system gives no more.
inline saccade_parallel threads_for_a_call(int64_t& threads) {
    const auto run = [](void* context, int64_t count, void (*task)(void*, int64_t), void* argument) {
        std::atomic<int64_t> next{0};
        const auto work = [&] {
            for (int64_t i; (i = next++) < count;) task(argument, i);
        };
        std::vector<std::thread> others;
        const int64_t wanted = std::min(*static_cast<int64_t*>(context), count) - 1;
        try {
            others.reserve(static_cast<size_t>(std::max<int64_t>(wanted, 0)));
            for (int64_t i = 0; i < wanted; ++i) others.emplace_back(work);
        } catch (const std::exception&) {  // the work is done all the same
        }
        work();
        for (std::thread& other : others) other.join();
    };
    return {run, &threads};
}

}  // namespace saccade

#endif
