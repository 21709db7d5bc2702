"""2D-3D matching between keypoints and candidate points."""
