"""What is measured of a file: a folder for each kind of measurement."""
