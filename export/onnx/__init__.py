"""Torch modules as ONNX files, and what is known of such files."""
