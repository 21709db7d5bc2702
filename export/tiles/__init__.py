"""Maps of tiles: made of finished bundles."""
