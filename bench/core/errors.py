"""The one error type that reaches a user: a sentence with its remedy, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """An error in one line: what went wrong, where, and what to do about it.

    The command line prints it as it is and exits with code 2; `--debug` adds the traceback.
    """


class RecordsError(BenchError):
    """Records cannot be written, so nothing more can be measured."""


class MeasurementError(BenchError):
    """One measurement failed (a crash, NaN logits); the sweep records it and goes on."""


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """`"; did you mean A, B?"` for the known names closest to `name`, or an empty string."""
    by_folded = {k.casefold(): k for k in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=n, cutoff=0.5)
    return f"; did you mean {', '.join(by_folded[c] for c in close)}?" if close else ""
