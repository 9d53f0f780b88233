"""Traces: conversations that the reference writes itself, to be scored on what it wrote."""
