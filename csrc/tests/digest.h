// FNV-1a over the results of a run: equal on two architectures if and only if, in all likelihood, every byte was.
#ifndef SACCADE_TESTS_DIGEST_H
#define SACCADE_TESTS_DIGEST_H

#include <cstddef>
#include <cstdint>
#include <cstdio>

class Digest {
  public:
    template <class Container>
    void add(const Container& values) {
        const size_t bytes = values.size() * sizeof(values[0]);
        const auto* at = static_cast<const unsigned char*>(static_cast<const void*>(values.data()));
        for (size_t i = 0; i < bytes; ++i) state_ = (state_ ^ at[i]) * 0x100000001b3;
    }

    void print() const { std::printf("digest %016llx\n", static_cast<unsigned long long>(state_)); }

  private:
    uint64_t state_ = 0xcbf29ce484222325;
};

#endif
