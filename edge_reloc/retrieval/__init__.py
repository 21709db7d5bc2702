"""Which map points a frame may see."""
