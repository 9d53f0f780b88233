"""Measurements of a file: one folder for each kind."""
