// saccade_threads calls its body once for each index, whatever the number of threads.
#include <atomic>
#include <cstdio>
#include <vector>

#include "saccade/parallel.h"

int main() {
    for (const int64_t threads : {1, 2, 7})
        for (const int64_t count : {0, 1, 3, 1000}) {
            std::vector<std::atomic<int>> calls(static_cast<size_t>(count));
            int64_t pool = threads;
            const auto body = [](void* context, int64_t i) { ++static_cast<std::atomic<int>*>(context)[i]; };
            saccade_threads(&pool, count, body, calls.data());
            for (const auto& number : calls)
                if (number != 1) {
                    std::printf("failed: %d calls, %d threads\n", number.load(), static_cast<int>(threads));
                    return 1;
                }
        }
    return 0;
}
