"""GGUF files: headers, reading, writing, split files, exact widening."""
