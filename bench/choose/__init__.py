"""Choosing types within a size: what the model itself says each tensor needs."""
