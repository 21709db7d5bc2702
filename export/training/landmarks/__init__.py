"""Training of the landmark recogniser."""
