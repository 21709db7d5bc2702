"""Procedural worlds with exact truth: poses, intrinsics and depth."""
