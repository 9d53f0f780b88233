"""A run: what is still to do, in which order."""
