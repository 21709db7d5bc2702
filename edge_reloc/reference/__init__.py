"""Known poses: COLMAP models, and how far estimates lie from the truth."""
