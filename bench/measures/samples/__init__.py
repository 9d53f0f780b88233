"""The same beginnings completed by every file, side by side."""
