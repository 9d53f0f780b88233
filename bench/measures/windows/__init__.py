"""Windows of a text: perplexity, divergence from the reference, and speed."""
