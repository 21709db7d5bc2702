"""Training of scene coordinate regression."""
