// What a warp does together, on the processor: stands in for the kernels' own warp.cuh.
// Written from the PTX ISA's description of the fragments, not from the kernels.
#pragma once

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

inline void load_matrices(u32 (&out)[4], const void* row) {
    if ((uintptr_t)row % 16) {
        fprintf(stderr, "stand-in: a row of a matrix must be aligned to 16 bytes\n");
        abort();
    }
    stand_in::Word mine = {};
    mine.value[0] = (uint64_t)row;
    const stand_in::Word* all = stand_in::exchange(mine);
    const int lane = stand_in::current->lane;
    for (int matrix = 0; matrix < 4; ++matrix) {
        const u8* at = (const u8*)all[8 * matrix + lane / 4].value[0];
        memcpy(&out[matrix], at + 4 * (lane % 4), 4);
    }
}

template <class Element, class Value>
Value element(u32 word, int index) {
    Element e;
    memcpy(&e, (const u8*)&word + sizeof(Element) * index, sizeof(Element));
    return (Value)e;
}

// D = A B + D for one warp. Lane 4g+t holds A's rows g and g+8, B's column g, D's columns
// 2t and 2t+1; words of A: (g, first half of k), (g+8, first), (g, second), (g+8, second).
template <class Element, class Value>
void multiply_as(Value (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    constexpr int EACH = 4 / sizeof(Element);  // elements a word
    stand_in::Word mine = {};
    for (int k = 0; k < 4; ++k) mine.value[k] = a[k];
    mine.value[4] = b0, mine.value[5] = b1;
    const stand_in::Word* all = stand_in::exchange(mine);
    const int lane = stand_in::current->lane, group = lane / 4, place = lane % 4;
    Value x[2][8 * EACH], y[2][8 * EACH];  // of the rows and columns that meet here
    for (int k = 0; k < 8 * EACH; ++k) {
        const int half = k / (4 * EACH), of_lane = k % (4 * EACH) / EACH, in_word = k % EACH;
        for (int i = 0; i < 2; ++i) {
            const u32 word_a = (u32)all[4 * group + of_lane].value[2 * half + i];
            const u32 word_b = (u32)all[4 * (2 * place + i) + of_lane].value[4 + half];
            x[i][k] = element<Element, Value>(word_a, in_word);
            y[i][k] = element<Element, Value>(word_b, in_word);
        }
    }
    for (int d = 0; d < 4; ++d)
        for (int k = 0; k < 8 * EACH; ++k) sum[d] += x[d / 2][k] * y[d % 2][k];
}

inline void multiply(float (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    multiply_as<_Float16>(sum, a, b0, b1);
}

inline void multiply(int (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    multiply_as<int8_t>(sum, a, b0, b1);
}

inline void copy_16_bytes(void* shared, const void* global) {
    if ((uintptr_t)shared % 16 || (uintptr_t)global % 16) {
        fprintf(stderr, "stand-in: a copy of 16 bytes must be aligned to 16 bytes\n");
        abort();
    }
    memset(shared, 0xff, 16);  // until it lands: NaN, or -1
    stand_in::current->open.push_back({shared, global});
}

inline void close_copy_group() {
    stand_in::current->closed.push_back(std::move(stand_in::current->open));
    stand_in::current->open.clear();
}

template <int N>
void wait_copy_groups() {
    stand_in::land(N);
}

inline u32 pack_halves(float low, float high) {
    const _Float16 halves[2] = {(_Float16)low, (_Float16)high};
    u32 packed;
    memcpy(&packed, halves, 4);
    return packed;
}
