"""Jobs, and the worker processes that do them."""
