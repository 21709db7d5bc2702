"""Measuring a run: time and memory while it goes on, and the report of it."""
