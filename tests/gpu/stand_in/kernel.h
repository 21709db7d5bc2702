// Runs CUDA kernels on the processor, so that their very source can be tested anywhere.
//
// Every thread of a block is a fibre; blocks run one after the other. What a warp does
// together (warp.cuh beside this file) and __syncthreads wait for all that take part. A copy
// to shared memory lands when it is waited for, no earlier, and shared memory begins as NaN.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <tuple>
#include <utility>
#include <vector>

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

namespace stand_in {

constexpr int WARP = 32;
constexpr size_t STACK_BYTES = 64 << 10;

struct Copy {
    void* to;
    const void* from;
};

struct Fibre {
    ucontext_t context;  // to begin with; afterwards `here`, which switches without the kernel
    jmp_buf here;
    std::vector<char> stack;
    bool begun = false;
    dim3 index;
    int lane = 0, warp = 0;
    enum { READY, AT_WARP, AT_BLOCK, DONE } state = READY;
    unsigned exchanges = 0;                // done by this thread so far
    std::vector<Copy> open;                // copies asked for, their group not closed
    std::deque<std::vector<Copy>> closed;  // groups that are on their way
};

struct Word {
    uint64_t value[16];
};

inline std::vector<Fibre> fibres;
inline Fibre* current = nullptr;
inline jmp_buf scheduler;
inline std::vector<Word> board[2];  // what lanes show each other, in turns
inline void (*entry)(void*) = nullptr;
inline void* entry_data = nullptr;

inline void pause(decltype(Fibre::READY) state) {
    Fibre* me = current;
    me->state = state;
    if (!_setjmp(me->here)) _longjmp(scheduler, 1);
    current = me;
}

// Lets a thread go on until it waits or ends.
inline void resume(Fibre* fibre) {
    current = fibre;
    if (_setjmp(scheduler)) return;
    if (fibre->begun) _longjmp(fibre->here, 1);
    fibre->begun = true;
    setcontext(&fibre->context);
}

// Shows `mine` to the warp; what each lane showed, once all have.
inline const Word* exchange(const Word& mine) {
    std::vector<Word>& here = board[current->exchanges++ % 2];
    here[current->warp * WARP + current->lane] = mine;
    pause(Fibre::AT_WARP);
    return &here[current->warp * WARP];
}

inline void land(size_t left) {
    while (current->closed.size() > left) {
        for (const Copy& copy : current->closed.front()) memcpy(copy.to, copy.from, 16);
        current->closed.pop_front();
    }
}

inline void body() {
    entry(entry_data);
    current->state = Fibre::DONE;
    _longjmp(scheduler, 1);
}

[[noreturn]] inline void stuck() {
    fprintf(stderr, "stand-in: threads of a block wait for each other at different places\n");
    abort();
}

// Releases the threads that have all arrived where they wait for each other.
inline bool release(Fibre* first, Fibre* end, decltype(Fibre::READY) place) {
    int waiting = 0, live = 0;
    for (Fibre* f = first; f < end; ++f) {
        live += f->state != Fibre::DONE;
        waiting += f->state == place;
    }
    if (waiting == 0) return false;
    if (waiting != live) {
        fprintf(stderr, "stand-in: threads wait for each other at different places\n");
        abort();
    }
    for (Fibre* f = first; f < end; ++f)
        if (f->state == place) f->state = Fibre::READY;
    return true;
}

inline void run_block(int threads) {
    if ((int)fibres.size() != threads) fibres = std::vector<Fibre>(threads);
    board[0].resize(threads + WARP);
    board[1].resize(threads + WARP);
    for (int t = 0; t < threads; ++t) {
        Fibre& f = fibres[t];
        f.stack.resize(STACK_BYTES);
        f.index = {(unsigned)t, 0, 0};
        f.lane = t % WARP, f.warp = t / WARP, f.exchanges = 0, f.begun = false;
        f.state = Fibre::READY;
        f.open.clear(), f.closed.clear();
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.data();
        f.context.uc_stack.ss_size = f.stack.size();
        f.context.uc_link = nullptr;
        makecontext(&f.context, body, 0);
    }
    // One warp goes as far as it can before the next begins, so that whoever forgets to wait
    // for the others is alone.
    Fibre *begin = fibres.data(), *end = begin + threads;
    do {
        for (Fibre* warp = begin; warp < end; warp += WARP) {
            Fibre* warp_end = warp + WARP < end ? warp + WARP : end;
            do {
                for (Fibre* f = warp; f < warp_end; ++f)
                    if (f->state == Fibre::READY) resume(f);
            } while (release(warp, warp_end, Fibre::AT_WARP));
        }
    } while (release(begin, end, Fibre::AT_BLOCK));
}

}  // namespace stand_in

inline dim3 blockIdx, blockDim, gridDim;
#define threadIdx (stand_in::current->index)

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__
#define __shared__ static

inline void __syncthreads() { stand_in::pause(stand_in::Fibre::AT_BLOCK); }

inline uint32_t __float_as_uint(float v) { uint32_t u; memcpy(&u, &v, 4); return u; }
inline float __uint_as_float(uint32_t u) { float v; memcpy(&v, &u, 4); return v; }
inline int __float2int_rn(float v) { return (int)std::nearbyint(v); }

template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
    stand_in::Word mine = {};
    memcpy(mine.value, &value, sizeof(T));
    const stand_in::Word* all = stand_in::exchange(mine);
    memcpy(&value, all[stand_in::current->lane ^ mask].value, sizeof(T));
    return value;
}

template <class T>
T atomicMax(T* at, T value) {
    const T before = *at;
    if (value > before) *at = value;
    return before;
}

template <class T>
T atomicAdd(T* at, T value) {
    const T before = *at;
    *at += value;
    return before;
}

// For the driver: how large each argument of a kernel is, and how to run it.
namespace stand_in {

template <class... A>
struct Kernel {
    void (*function)(A...);
    void** arguments;
    static void call(void* data) {
        Kernel* k = (Kernel*)data;
        k->apply(std::index_sequence_for<A...>());
    }
    template <size_t... I>
    void apply(std::index_sequence<I...>) {
        function(*(A*)arguments[I]...);
    }
};

template <class... A>
void run(void (*function)(A...), dim3 grid, dim3 block, void** arguments) {
    Kernel<A...> kernel{function, arguments};
    entry = Kernel<A...>::call;
    entry_data = (void*)&kernel;
    gridDim = grid, blockDim = block;
    for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
                run_block(block.x * block.y * block.z);
}

template <class... A>
int sizes(void (*)(A...), size_t* out) {
    int n = 0;
    ((out[n++] = sizeof(A)), ...);
    return n;
}

}  // namespace stand_in

#define STAND_IN_KERNEL(name)                                                             \
    extern "C" int sizes_##name(size_t* out) { return stand_in::sizes(name, out); }       \
    extern "C" void run_##name(dim3 grid, dim3 block, void** arguments) {                 \
        stand_in::run(name, grid, block, arguments);                                      \
    }
