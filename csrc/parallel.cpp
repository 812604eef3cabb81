#include "saccade/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

extern "C" void saccade_threads(void* pool, int64_t count, void (*body)(void* context, int64_t index), void* context) {
    std::atomic<int64_t> next{0};
    const auto work = [&] {
        for (int64_t i = next++; i < count; i = next++) body(context, i);
    };
    std::vector<std::thread> others;
    try {
        const int64_t threads = std::min(*static_cast<const int64_t*>(pool), count);
        others.reserve(static_cast<size_t>(std::max<int64_t>(threads - 1, 0)));
        while (static_cast<int64_t>(others.size()) + 1 < threads) others.emplace_back(work);
    } catch (const std::exception&) {  // no more threads: those there are do it
    }
    work();
    for (std::thread& other : others) other.join();
}
