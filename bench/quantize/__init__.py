"""From a reference model and a recipe to a file: importance matrix, quantized tensors and their cache."""
