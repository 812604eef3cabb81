#include "status.h"

#include <cstdio>

namespace saccade {
namespace {

thread_local char message[200];

}

int fail(const char* op, int status, const char* text) {
    std::snprintf(message, sizeof message, "[%s] %s", op, text);
    return status;
}

}  // namespace saccade

extern "C" const char* saccade_error(void) { return saccade::message; }
