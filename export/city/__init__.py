"""Many photos: tiles that are placed and mapped apart, and lie in one world."""
