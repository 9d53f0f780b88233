"""Infill problems and conversations: scored and completed."""
