"""What a GGUF quantization costs and what it buys: perplexity, size and CPU speed, measured."""
