"""What changed from one map bundle to the next, as one file that a device applies."""
