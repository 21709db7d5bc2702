"""Photos in: which they are, what their files say, and their features."""
