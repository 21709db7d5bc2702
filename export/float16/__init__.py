"""Strongly typed half precision: where it is safe, and what it costs."""
