// Parts of an op over the caller's threads. For the checked entries only (see candidates.h).
#ifndef SACCADE_CSRC_PARALLEL_H
#define SACCADE_CSRC_PARALLEL_H

#include <atomic>
#include <exception>

#include "saccade/parallel.h"
#include "saccade/status.h"

namespace saccade {

// Calls part(i) for i in 0..count, on the caller's threads if there are any and more than one part. Only allocation may
// throw in it: SACCADE_MEMORY then.
template <class Part>
int in_parts(const saccade_parallel& threads, int64_t count, Part part) {
    struct Context {
        Part& part;
        std::atomic<int> status;
    } context{part, {SACCADE_OK}};
    const auto body = [](void* of, int64_t index) {
        auto& c = *static_cast<Context*>(of);
        try {
            c.part(index);
        } catch (const std::exception&) {
            c.status = SACCADE_MEMORY;
        }
    };
    if (threads.run && count > 1) {
        threads.run(threads.context, count, body, &context);
    } else {
        for (int64_t i = 0; i < count; ++i) body(&context, i);
    }
    return context.status;
}

}  // namespace saccade

#endif
