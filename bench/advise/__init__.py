"""Which file for this machine."""
