"""Error propagation: how far hidden states are from the reference's, layer by layer."""
