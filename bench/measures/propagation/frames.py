"""The table of errors of hidden states for programs."""

from __future__ import annotations

import pandas as pd

from bench.measures.frames import Frame, frame
from bench.measures.propagation import tables
from bench.measures.propagation.columns import PROPAGATION
from bench.measures.propagation.runs import propagation_of
from bench.records.run import Run

_PARTS = ("residual", "attention", "feed_forward")


def _propagation(run: Run) -> pd.DataFrame:
    """One row a recipe, window and layer: relative errors (see compute.py); empty for a run without any."""
    rows = [
        {"recipe": name, "window": window, "layer": layer} | {part: getattr(result, part)[layer] for part in _PARTS}
        for name, by_window in propagation_of(run).items()
        for window, result in by_window.items()
        for layer in range(len(result.residual))
    ]
    return frame(PROPAGATION, rows).astype(dict.fromkeys(_PARTS, "float64"))


FRAME = Frame(
    "propagation",
    _propagation,
    tables.propagation_table,
    "errors of hidden states: run with --propagation",
    PROPAGATION,
    "propagation",
)
