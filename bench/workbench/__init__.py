"""What a run works with, and what of it is kept in the cache."""
