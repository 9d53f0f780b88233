"""What is attacked, a module each: see attack.Subject for what a module has to offer."""
