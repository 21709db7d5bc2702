"""The GPU: a small seam to the CUDA driver, memory that is taken once, kernels."""
