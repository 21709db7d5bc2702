"""JSON messages on channels, as recordings and live views have them."""
