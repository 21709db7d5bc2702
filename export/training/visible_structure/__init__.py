"""Training of both heads of visible structure retrieval."""
