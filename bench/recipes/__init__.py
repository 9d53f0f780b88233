"""What a recipe says: rules for the types of tensors, read from TOML, and the sizes that it may ask for."""
