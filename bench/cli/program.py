"""What the program is called, for help and for what it tells people to type."""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: Where it was installed as a command.
COMMAND = "dynamicgate-bench"
#: How it was called where neither the command nor the module was: set by `nox -s bench`.
_VARIABLE = "BENCH_PROGRAM"


def program() -> str:
    """As it was called: `dynamicgate-bench`, `nox -s bench --` or `python -m bench`."""
    if called := os.environ.get(_VARIABLE):
        return called
    return COMMAND if sys.argv and Path(sys.argv[0]).stem == COMMAND else "python -m bench"
