"""Choosing types within a size, by the model's own sensitivity to each tensor."""
