"""The program's name, for its help and for the commands that it suggests."""

from __future__ import annotations

import os

#: The one name in help and on pages, however it was called.
COMMAND = "dynamicgate-bench"
#: How it is called in a checkout: set by `nox -s bench`.
_VARIABLE = "BENCH_PROGRAM"


def program() -> str:
    """As people type it: `dynamicgate-bench`, or `nox -s bench --` where nox called it."""
    return os.environ.get(_VARIABLE) or COMMAND
