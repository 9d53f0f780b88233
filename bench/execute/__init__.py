"""How a job gets done: what a job is, and the worker processes that do it."""
