"""Camera calibration from printed boards."""
