// A camera image into a feature network's input: grey, turned, shrunk by area, and what is
// left of the input filled with the image's mean. Two kernels: `shrink`, then `fill`.
//
// The arithmetic is OpenCV's: grey in 14-bit fixed point, areas rounded to whole grey levels.
#include <warp.cuh>

// Written by the host before each frame. Sizes of the turned image and of what it becomes.
struct Image {
    int width, height;          // turned, in pixels
    int channels;               // 1: grey, 3: BGR
    int quarter_turns;          // counter-clockwise, 0 to 3
    int fit_width, fit_height;  // at most the input's, no larger than the turned image
};

// One pixel of the turned image, as a whole grey level.
__device__ __forceinline__ int grey(const Image& image, const u8* pixels, int x, int y) {
    int row = y, column = x;
    const int w = image.width, h = image.height;
    if (image.quarter_turns == 1) row = x, column = h - 1 - y;
    if (image.quarter_turns == 2) row = h - 1 - y, column = w - 1 - x;
    if (image.quarter_turns == 3) row = w - 1 - x, column = y;
    const int stride = image.quarter_turns % 2 ? h : w;
    const u8* at = pixels + ((u64)row * stride + column) * image.channels;
    if (image.channels == 1) return at[0];
    return (1868 * at[0] + 9617 * at[1] + 4899 * at[2] + (1 << 13)) >> 14;
}

// One thread a pixel of the input (input_width x input_height); sum: of the pixels written.
extern "C" __global__ void shrink(const Image* image_at, const u8* pixels, int input_width,
                                  int input_height, float* input, u64* sum) {
    const Image image = *image_at;
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
    u32 level = 0;
    if (x < image.fit_width && y < image.fit_height) {
        const float step_x = (float)image.width / image.fit_width;
        const float step_y = (float)image.height / image.fit_height;
        if (image.width == image.fit_width && image.height == image.fit_height) {
            level = grey(image, pixels, x, y);
        } else {
            const float left = x * step_x, right = left + step_x;
            const float top = y * step_y, bottom = top + step_y;
            float total = 0.0f, area = 0.0f;
            for (int row = (int)top; row < bottom && row < image.height; ++row) {
                const float tall = fminf(row + 1, bottom) - fmaxf(row, top);
                for (int column = (int)left; column < right && column < image.width; ++column) {
                    const float part = tall * (fminf(column + 1, right) - fmaxf(column, left));
                    total += part * grey(image, pixels, column, row);
                    area += part;
                }
            }
            level = (u32)(total / area + 0.5f);  // halves up, as OpenCV where it halves sizes
        }
        input[(u64)y * input_width + x] = (float)level;
    }
    // The warp's sum at once: whole numbers, so that no order matters.
    for (int step = 16; step; step /= 2) level += __shfl_xor_sync(0xffffffffu, level, step);
    if (threadIdx.x % 32 == 0 && level) atomicAdd(sum, (u64)level);
}

// One thread a pixel of the input: those that `shrink` left get the mean.
extern "C" __global__ void fill(const Image* image_at, int input_width, int input_height,
                                float* input, const u64* sum) {
    const Image image = *image_at;
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
    if (x >= input_width || (x < image.fit_width && y < image.fit_height)) return;
    const double pixels = (double)image.fit_width * image.fit_height;
    input[(u64)y * input_width + x] = (float)((double)*sum / pixels);
}
