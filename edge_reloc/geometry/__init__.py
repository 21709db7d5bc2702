"""Rigid transforms, cameras and lenses."""
