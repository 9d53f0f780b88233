"""Where models come from: the package index, the hub, checkpoints, files of others."""
