"""A run: the work that is still to do, and its order."""
