// Mutual nearest neighbours of keypoints among candidates of the map, with similarity and
// ratio tests. Three kernels a frame: `encode` the queries, `search`, `decide`.
//
// Only similarities that can decide a match are looked at twice. A match needs at least
// min_similarity, and a second-best candidate can spoil one only from
// 1 - (1 - min_similarity) / max_ratio^2 on. Whatever lies below both is dropped with one
// maximum and one comparison, out of the tensor cores' registers; what stays, a few a
// keypoint, goes to global memory by atomics. So there is no similarity matrix, no reduction
// between warps or blocks, and the answer depends on no order.
//
// Compiled for one length of descriptors (matching/nearest_cuda.py chooses):
//   ROW_BYTES  of a padded row: 32, 64, 128, 256 or 512;  INT8  1: int8, 0: float16
//   WARPS      a block;  TILES  of 16 keypoints that a warp keeps in its registers
//   COLUMNS    candidates of a stage in shared memory, a multiple of 16
#include <warp.cuh>

constexpr int THREADS = 32 * WARPS;
constexpr int STEPS = ROW_BYTES / 32;          // a multiplication takes 32 bytes of a row
constexpr int ROWS = 16 * TILES * WARPS;       // keypoints a block
constexpr int STAGES = 3;                      // one in use, two on their way
constexpr int CHUNKS = ROW_BYTES / 16;
constexpr int COPIES = (COLUMNS * CHUNKS + THREADS - 1) / THREADS;  // a thread and stage

#if INT8
typedef int Sum;
#else
typedef float Sum;
#endif

// Written by the host before each frame. A keypoint may match only candidates of its group.
struct Frame {
    int keypoints;     // at most the capacity
    int candidates;    // at most the capacity
    int first_point;   // candidates are points first_point, first_point + 1, ...; or -1
    int grouped;       // 0: all are of one group
    float min_similarity;
    float max_ratio2;  // square of the largest ratio of distances; 1 or more: no test
    float worth;       // similarities below decide nothing
    float scale;       // of the map's numbers: 1 for float16
};

// What the search leaves: for every keypoint its best (similarity, candidate) and its second
// best similarity, for every candidate its best similarity; all in an order that integers have.
struct Best {
    u64* of_keypoint;
    u32* second_of_keypoint;
    u32* of_candidate;
};

__device__ __forceinline__ u32 ordered(float value) {
    const u32 bits = __float_as_uint(value);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float unordered(u32 key) {
    return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// Queries (rows of `dim` float32) as the map's descriptors are: float16, or int8 with a scale
// of its own for every row. `rows`: which rows of the source, or null for the first ones.
// One warp a row; rows behind the last one become zeros.
extern "C" __global__ void encode(const Frame* frame, const float* source, const int* rows,
                                  int dim, u32* query, float* query_scale) {
    const int row = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    const bool valid = row < frame->keypoints;
    const float* from = source + (u64)(valid ? (rows ? rows[row] : row) : 0) * dim;
    u32* to = query + (u64)row * (ROW_BYTES / 4);
#if INT8
    float largest = 0.0f;
    if (valid)
        for (int k = lane; k < dim; k += 32) largest = fmaxf(largest, fabsf(from[k]));
    for (int step = 16; step; step /= 2)
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, step));
    const float scale = largest > 0.0f ? largest / 127.0f : 1.0f;
    if (lane == 0) query_scale[row] = scale;
    for (int word = lane; word < ROW_BYTES / 4; word += 32) {
        u32 packed = 0;
        for (int k = 0; k < 4; ++k) {
            const int at = 4 * word + k;
            const int value = valid && at < dim ? __float2int_rn(from[at] / scale) : 0;
            packed |= (u32)(value & 255) << (8 * k);
        }
        to[word] = packed;
    }
#else
    if (lane == 0) query_scale[row] = 1.0f;
    for (int word = lane; word < ROW_BYTES / 4; word += 32) {
        const int at = 2 * word;
        to[word] = pack_halves(valid && at < dim ? from[at] : 0.0f,
                               valid && at + 1 < dim ? from[at + 1] : 0.0f);
    }
#endif
}

// Where a 16-byte chunk of a row of the stage lies: chunks are exchanged within a row so that
// those that eight neighbouring rows have at the same place lie in different banks.
__device__ __forceinline__ int exchanged(int row, int chunk) {
    return CHUNKS >= 8 ? chunk ^ (row & 7) : chunk ^ (row * CHUNKS / 8 & (CHUNKS - 1));
}

__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ int larger(int a, int b) { return a > b ? a : b; }

// One similarity that may decide something.
__device__ __forceinline__ void insert(const Frame& frame, const Best& best, const int* group,
                                       const int* query_group, int row, int column,
                                       float similarity) {
    if (row >= frame.keypoints || column >= frame.candidates) return;
    if (frame.grouped && query_group[row] != group[column]) return;
    const u32 rank = ordered(similarity);
    const u64 key = (u64)rank << 32 | (u32)~column;  // of equals the first candidate wins
    const u64 before = atomicMax(best.of_keypoint + row, key);
    // Of two that meet the smaller goes on; every one but the best is the smaller once.
    const u32 smaller = (u32)((before < key ? before : key) >> 32);
    if (frame.max_ratio2 < 1.0f && smaller) atomicMax(best.second_of_keypoint + row, smaller);
    if (similarity >= frame.min_similarity) atomicMax(best.of_candidate + column, rank);
}

// Block (x, y): keypoints ROWS*x.., of the candidates the y-th of gridDim.y equal parts.
extern "C" __global__ void __launch_bounds__(THREADS)
search(const Frame* __restrict__ frame_at, const u8* __restrict__ query,
       const float* __restrict__ query_scale, const int* __restrict__ query_group,
       const u8* __restrict__ descriptor, const int* __restrict__ point_id,
       const int* __restrict__ group, u64* of_keypoint, u32* second_of_keypoint,
       u32* of_candidate) {
    __shared__ __align__(128) u8 stage[STAGES][COLUMNS * ROW_BYTES];
    const Frame frame = *frame_at;
    const Best best = {of_keypoint, second_of_keypoint, of_candidate};
    const int first_row = ROWS * blockIdx.x;
    const int all = (frame.candidates + COLUMNS - 1) / COLUMNS;
    const int begin = (int)((u64)all * blockIdx.y / gridDim.y);
    const int count = (int)((u64)all * (blockIdx.y + 1) / gridDim.y) - begin;
    if (first_row >= frame.keypoints || count == 0) return;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int quad = lane / 4, in_quad = lane % 4;

    // The warp's keypoints stay in registers, in the form that the multiplication takes.
    u32 a[TILES][STEPS][4];
    float worth[TILES][2], scale[TILES][2];
    int row[TILES][2];
#pragma unroll
    for (int tile = 0; tile < TILES; ++tile) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int r = row[tile][half] = first_row + 16 * (TILES * warp + tile) + 8 * half + quad;
            scale[tile][half] = frame.scale * query_scale[r];
            worth[tile][half] = frame.worth / scale[tile][half];
            const u8* from = query + (u64)r * ROW_BYTES + 4 * in_quad;
#pragma unroll
            for (int step = 0; step < STEPS; ++step) {
                a[tile][step][half] = *(const u32*)(from + 32 * step);
                a[tile][step][half + 2] = *(const u32*)(from + 32 * step + 16);
            }
        }
    }

    // Which points this thread copies: known one tile before they are asked for.
    int next[COPIES];
    auto look_up = [&](int tile) {
#pragma unroll
        for (int copy = 0; copy < COPIES; ++copy) {
            int column = (begin + tile) * COLUMNS + (copy * THREADS + (int)threadIdx.x) / CHUNKS;
            column = column < frame.candidates ? column : frame.candidates - 1;
            next[copy] = frame.first_point >= 0 ? frame.first_point + column : point_id[column];
        }
    };
    auto copy_in = [&](int tile) {
        u8* to = stage[tile % STAGES];
#pragma unroll
        for (int copy = 0; copy < COPIES; ++copy) {
            const int part = copy * THREADS + (int)threadIdx.x;
            const int r = part / CHUNKS, chunk = part % CHUNKS;
            if (r < COLUMNS)
                copy_16_bytes(to + r * ROW_BYTES + 16 * exchanged(r, chunk),
                              descriptor + (u64)next[copy] * ROW_BYTES + 16 * chunk);
        }
    };

    look_up(0);
    for (int tile = 0; tile < STAGES - 1; ++tile) {
        if (tile < count) {
            copy_in(tile);
            look_up(tile + 1);
        }
        close_copy_group();
    }
    for (int tile = 0; tile < count; ++tile) {
        wait_copy_groups<STAGES - 2>();
        __syncthreads();  // this tile is there for all, and all are done with the one before
        if (tile + STAGES - 1 < count) {
            copy_in(tile + STAGES - 1);
            look_up(tile + STAGES);
        }
        close_copy_group();
        const u8* here = stage[tile % STAGES];
#pragma unroll 1
        for (int sixteen = 0; sixteen < COLUMNS; sixteen += 16) {
            Sum sum[TILES][2][4] = {};
            const int r = sixteen + lane % 8 + lane / 16 * 8, odd = lane / 8 % 2;
            const u8* from = here + r * ROW_BYTES;
#pragma unroll
            for (int step = 0; step < STEPS; ++step) {
                u32 b[4];
                load_matrices(b, from + 16 * exchanged(r, 2 * step + odd));
#pragma unroll
                for (int t = 0; t < TILES; ++t) {
                    multiply(sum[t][0], a[t][step], b[0], b[1]);
                    multiply(sum[t][1], a[t][step], b[2], b[3]);
                }
            }
#pragma unroll
            for (int t = 0; t < TILES; ++t) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const Sum most = larger(larger(sum[t][0][2 * half], sum[t][0][2 * half + 1]),
                                            larger(sum[t][1][2 * half], sum[t][1][2 * half + 1]));
                    if (!((float)most >= worth[t][half])) continue;
#pragma unroll
                    for (int k = 0; k < 4; ++k) {
                        const Sum found = sum[t][k / 2][2 * half + k % 2];
                        const int column = (begin + tile) * COLUMNS + sixteen + 8 * (k / 2) +
                                           2 * in_quad + k % 2;
                        if ((float)found >= worth[t][half])
                            insert(frame, best, group, query_group, row[t][half], column,
                                   (float)found * scale[t][half]);
                    }
                }
            }
        }
    }
}

// One thread a keypoint: the candidate it matches, or -1, and the similarity.
extern "C" __global__ void decide(const Frame* frame, const u64* of_keypoint,
                                  const u32* second_of_keypoint, const u32* of_candidate,
                                  int* column_out, float* similarity_out) {
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= frame->keypoints) return;
    const u64 key = of_keypoint[row];
    const u32 rank = (u32)(key >> 32);
    const int column = (int)~(u32)key;
    column_out[row] = -1;
    if (key == 0) return;
    const float similarity = unordered(rank);
    if (!(similarity >= frame->min_similarity) || of_candidate[column] != rank) return;
    if (frame->max_ratio2 < 1.0f) {
        const u32 second = second_of_keypoint[row];
        const float next = second ? unordered(second) : -2.0f;
        if (fmaxf(1.0f - similarity, 0.0f) > frame->max_ratio2 * (1.0f - next)) return;
    }
    column_out[row] = column;
    similarity_out[row] = similarity;
}
