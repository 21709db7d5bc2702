"""Training of our own feature network, `nets/waymark.py`."""
