"""From 2D-3D matches to a pose with a covariance, or to an honest refusal."""
