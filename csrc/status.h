// Keeps the message of a failed call for saccade_error().
#ifndef SACCADE_CSRC_STATUS_H
#define SACCADE_CSRC_STATUS_H

#include "saccade/status.h"

namespace saccade {

int fail(const char* op, int status, const char* text);  // returns `status`

}

#endif
