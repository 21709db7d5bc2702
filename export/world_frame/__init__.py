"""Frame, scale and orientation of a map's world, from what is known of the place."""
