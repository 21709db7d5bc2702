"""Networks at run time: fixed named buffers and `run`."""
