"""Machines that try to break what the project promises: `nox -s stress`. Each subject is a module in subjects/."""
