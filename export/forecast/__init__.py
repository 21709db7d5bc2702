"""Where in a map localisation will work, from the map alone."""
