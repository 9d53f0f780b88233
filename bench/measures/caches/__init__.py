"""KV cache types: what it costs to keep keys and values in fewer bits."""
