"""A map of tiles: bundles in one world under one index, a few of them in memory at a time."""
