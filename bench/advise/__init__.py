"""Choosing a file for this machine."""
