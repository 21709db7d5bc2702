"""The ways to localise: one file a method, and the table of them."""
