"""edge_reloc: camera relocalisation in fixed memory, for Jetson and CPU."""

__version__ = "0.1.0"
