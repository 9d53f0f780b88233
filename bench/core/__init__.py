"""The base of everything else: errors, progress, the machine."""
