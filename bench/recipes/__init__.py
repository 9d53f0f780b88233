"""Contents of recipes: rules for the types of tensors, read from TOML, and the sizes that a recipe may ask for."""
