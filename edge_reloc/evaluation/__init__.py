"""Scoring: reference poses, metrics, tables and plots."""
