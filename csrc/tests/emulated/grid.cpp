// Fibers that stand for the threads of a block.
#include "grid.h"

#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "cuda.h"

Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {
namespace {

constexpr size_t STACK = 64 << 10;

enum State { READY, AT_WARP, AT_BLOCK, DONE };

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK]};
    State state = READY;
    uint64_t value = 0;
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<std::vector<uint64_t>> warps;  // what was handed in where a warp met last
    uint64_t any = 0;
    ucontext_t scheduler;
    size_t running = 0;
    const std::function<void()>* body = nullptr;
};
Block* block = nullptr;

[[noreturn]] void broken(const char* what) {
    fprintf(stderr, "emulated grid: %s, block (%u, %u, %u)\n", what, blockIdx.x, blockIdx.y, blockIdx.z);
    abort();
}

void enter() {
    (*block->body)();
    block->fibers[block->running].state = DONE;
}

// Lets those go on who wait where everybody waits. Threads that ended must not be waited for.
bool release() {
    bool any = false;
    size_t waiting = 0;
    for (size_t first = 0; first < block->fibers.size(); first += 32) {
        size_t here = 0;
        for (size_t i = first; i < first + 32; ++i) {
            here += block->fibers[i].state == AT_WARP;
            waiting += block->fibers[i].state == AT_BLOCK;
        }
        if (!here) continue;
        if (here != 32) continue;
        for (size_t i = first; i < first + 32; ++i) {
            block->warps[first / 32][i - first] = block->fibers[i].value;
            block->fibers[i].state = READY;
        }
        any = true;
    }
    if (waiting != block->fibers.size()) return any;
    block->any = 0;
    for (Fiber& fiber : block->fibers) {
        block->any |= fiber.value;
        fiber.state = READY;
    }
    return true;
}

void run_block(std::mt19937& chance) {
    const size_t count = block->fibers.size();
    for (Fiber& fiber : block->fibers) {
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = &block->scheduler;
        makecontext(&fiber.context, enter, 0);
        fiber.state = READY;
    }
    std::vector<unsigned> order(count);
    for (unsigned i = 0; i < count; ++i) order[i] = i;
    for (bool alive = true; alive;) {
        std::shuffle(order.begin(), order.end(), chance);
        for (const unsigned i : order) {
            if (block->fibers[i].state != READY) continue;
            block->running = i;
            threadIdx = {i, 0, 0};
            swapcontext(&block->scheduler, &block->fibers[i].context);
        }
        alive = false;
        for (const Fiber& fiber : block->fibers) alive |= fiber.state != DONE;
        if (alive && !release()) broken("threads wait for others that ended or wait elsewhere");
    }
}

}  // namespace

const uint64_t* meet(Scope scope, uint64_t value) {
    const size_t me = block->running;
    Fiber& fiber = block->fibers[me];
    fiber.value = value;
    fiber.state = scope == WARP ? AT_WARP : AT_BLOCK;
    swapcontext(&fiber.context, &block->scheduler);
    return scope == WARP ? block->warps[me / 32].data() : &block->any;
}

void run(const std::function<void()>& body, Index grid, unsigned threads) {
    static std::mt19937 chance{std::random_device{}()};
    if (threads % 32) broken("a block is no whole number of warps");
    Block here;
    here.fibers.resize(threads);
    here.warps.assign(threads / 32, std::vector<uint64_t>(32));
    here.body = &body;
    block = &here;
    gridDim = grid;
    blockDim = {threads, 1, 1};
    std::vector<Index> blocks;
    for (unsigned x = 0; x < grid.x; ++x)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned z = 0; z < grid.z; ++z) blocks.push_back({x, y, z});
    std::shuffle(blocks.begin(), blocks.end(), chance);
    for (const Index& at : blocks) {
        blockIdx = at;
        run_block(chance);
    }
}

}  // namespace emulated
