"""Training of a map's networks, one folder a method, and what they share."""
