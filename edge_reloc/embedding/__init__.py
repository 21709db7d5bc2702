"""Image embeddings: one vector a frame that tells where it may have been taken."""
