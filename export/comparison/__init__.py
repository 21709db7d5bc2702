"""The same frames through the same networks in several forms, side by side."""
