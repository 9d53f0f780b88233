"""The plot of errors of hidden states by layer: the errors, and their change by mixed recipes beside the published claim."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.core.formats import percent
from bench.measures.named_points import draw_line
from bench.measures.plotting import GREY, RC, STYLE, caption, describe_figure, legend, new_figure
from bench.measures.propagation.tables import CLAIMED, errors
from bench.records.families import GATED, Pair, pairs
from bench.records.run import Run

#: What the name of a line says its number is.
_LAST = "after the last layer"


def draw(run: Run) -> dict[str, Figure]:
    """Error of the hidden states by layer, where a recipe and its standard counterpart have it."""
    shown = [
        (family, p)
        for family in GATED
        for p in pairs(run, family)
        if p.standard and p.gated and errors(run, p.standard).size and errors(run, p.gated).size
    ]
    if not shown:
        return {}
    with plt.rc_context(RC):
        figure, [above, below] = new_figure(7.4, 2)
        describe_figure(
            figure, "Error of the hidden states by layer", caption(run, "A line for every file; means over windows")
        )
        _errors(run, above, shown)
        _changes(run, below, shown)
    return {"error-propagation": figure}


def _errors(run: Run, axes: Axes, shown: list[tuple[str, Pair]]) -> None:
    """The error after every layer."""
    families = {p.standard or "": "Standard" for _, p in shown} | {p.gated or "": family for family, p in shown}
    for name, family in families.items():
        by_layer = errors(run, name).mean(axis=0)
        look = {"lw": 1.2, "label": family, "color": STYLE[family]["color"]}
        draw_line(axes, f"{name}: {by_layer[-1]:.3g} {_LAST}", range(1, len(by_layer) + 1), by_layer, **look)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("Relative error of the\nresidual stream")
    legend(axes, "lower right")


def _changes(run: Run, axes: Axes, shown: list[tuple[str, Pair]]) -> None:
    """The change of the error against Standard of the same type, with the change that was claimed."""
    for family, pair in shown:
        std, gated = errors(run, pair.standard or ""), errors(run, pair.gated or "")
        change = 100 * (np.exp(np.log(gated / std).mean(axis=0)) - 1)
        look = {"lw": 1.2, "label": family, "color": STYLE[family]["color"]}
        name = f"{pair.gated} against {pair.standard}: {change[-1]:+.1f}% {_LAST}"
        draw_line(axes, name, range(1, len(change) + 1), change, **look)
    axes.axhline(0, color="black", lw=0.8)
    axes.axhline(100 * CLAIMED, color=GREY, lw=1.2, ls="--")
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "xytext": (-2, -3)}
    axes.annotate(
        f"claimed: {percent(CLAIMED)}", (1, 100 * CLAIMED), ha="right", va="top", fontsize=8, color=GREY, **place
    )
    axes.set_xlabel("After layer")
    axes.set_ylabel("Change of the error against\nStandard of the same type (%)")
