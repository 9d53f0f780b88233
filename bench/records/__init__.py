"""The records of a run, and their storage."""
