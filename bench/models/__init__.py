"""Where models come from: the package index, the hub, checkpoints, third-party files."""
