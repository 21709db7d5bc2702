"""What all programs share: options made from settings, and how a program ends."""
