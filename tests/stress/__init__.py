"""Machines that try to break what the project promises: `nox -s stress`. Each subject is a module in subjects/."""

import os

# Commands are forked from the process that attacks: numpy's threads would not come along, and are started where it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
