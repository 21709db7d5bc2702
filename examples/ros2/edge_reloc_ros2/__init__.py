"""edge_reloc as a node of ROS 2."""
