"""The inputs of a run, and their storage in the cache."""
