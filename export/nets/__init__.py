"""The networks as torch modules, one file a network."""
