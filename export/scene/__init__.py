"""From photos and matches to a scene: poses, points, who sees what."""
