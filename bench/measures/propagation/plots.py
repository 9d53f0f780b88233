"""The plot of errors of hidden states by layer."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bench.measures.plotting import GREY, RC, STYLE, caption
from bench.measures.propagation.tables import errors
from bench.records.families import GATED, pairs
from bench.records.run import Run


def draw(run: Run) -> dict[str, Figure]:
    """Error of the hidden states by layer, where a recipe and its standard counterpart have it."""
    with plt.rc_context(RC):
        drawn = _error_propagation(run)
    return {} if drawn is None else {"error-propagation": drawn}


def _error_propagation(run: Run) -> Figure | None:
    """Error of the hidden states by layer, Standard and DynamicGate of every base beside each other."""
    shown: dict[str, dict[str, str]] = {}  # recipes by family, by base
    for family in GATED:
        for p in pairs(run, family):
            if p.standard and p.gated and errors(run, p.standard).size and errors(run, p.gated).size:
                shown.setdefault(p.base, {"Standard": p.standard})[family] = p.gated
    if not shown:
        return None
    figure, all_axes = plt.subplots(
        1, len(shown), figsize=(max(8.0, 2.6 * len(shown)), 4.2), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (base, recipes) in zip(all_axes[0], shown.items(), strict=True):
        for family, name in recipes.items():
            by_layer = errors(run, name)
            layers, color = range(1, by_layer.shape[1] + 1), STYLE[family]["color"]
            axes.plot(layers, by_layer.mean(axis=0), color=color, lw=1.6, label=family)
            axes.fill_between(layers, by_layer.min(axis=0), by_layer.max(axis=0), color=color, alpha=0.2, lw=0)
        axes.set_title(base, fontsize=10)
        axes.set_xlabel("After layer")
    all_axes[0][0].set_ylim(bottom=0)
    all_axes[0][0].set_ylabel("Relative error of the residual stream\n(mean; band: smallest to largest window)")
    all_axes[0][0].legend(loc="lower right", frameon=False, fontsize=9)
    figure.suptitle("Error of the hidden states by layer, against the reference", x=0.01, ha="left", fontweight="bold")
    figure.supxlabel(caption(run), fontsize=8, color=GREY, x=0.01, ha="left")
    return figure
