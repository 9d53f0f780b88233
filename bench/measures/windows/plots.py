"""Plots of windows: perplexity, divergence and speed against size, and changes of perplexity."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from bench.core.formats import perplexity_text, seconds
from bench.measures.plotting import (
    FAMILIES_INSIDE,
    GREY,
    RC,
    STYLE,
    arrows,
    label_points,
    legend,
    logarithmic,
    new_figure,
    points,
    reference_line,
    with_sizes,
)
from bench.measures.windows.runs import windows_of
from bench.measures.windows.tables import full_frame
from bench.records.run import Run

#: Files that were timed together, the reference among them, for a plot of their speed.
_ENOUGH = 3


def _in_one_sitting(run: Run, name: str) -> bool:
    """Whether a file's times compare with the reference's: times of different sittings do not."""
    if run.reference is None or name == run.reference:
        return True
    return len(windows_of(run).same_sitting(run.reference, name)[0]) == run.identity.windows


def _perplexity_against_size(frame: pd.DataFrame, run: Run) -> Figure:
    figure, axes = new_figure(run, "Perplexity against file size: lower and further left is better")
    frame, unit = with_sizes(frame)
    quantized = frame[frame["family"] != "Reference"]
    points(axes, quantized, "ppl", "ppl_low", "ppl_high")
    reference_line(axes, frame, "ppl", unit, perplexity_text)
    if frame["ppl"].max() / frame["ppl"].min() > 4:
        logarithmic(axes)
    arrows(axes, frame, "ppl")
    axes.margins(x=0.08)
    axes.set_xlabel(f"File size ({unit})")
    axes.set_ylabel("Perplexity" + (" with 95 % interval" if frame["ppl_low"].notna().any() else ""))
    legend(axes, frame)
    label_points(figure, axes, quantized, "ppl", "ppl_low", "ppl_high")
    return figure


def _speed_against_size(frame: pd.DataFrame, run: Run) -> Figure:
    figure, axes = new_figure(run, "Time for one window against file size: lower is faster")
    frame, unit = with_sizes(frame)
    middle, half = frame["window_seconds"], frame["window_seconds_half_iqr"]
    frame = frame.assign(low=middle - half, high=middle + half)
    quantized = frame[frame["family"] != "Reference"]
    points(axes, quantized, "window_seconds", "low", "high")
    reference_line(axes, frame, "window_seconds", unit, seconds)
    arrows(axes, frame, "window_seconds")
    axes.margins(x=0.08, y=0.15)
    many = frame["family"].nunique() > FAMILIES_INSIDE
    axes.set_xlabel(f"File size ({unit})")
    axes.set_ylabel(f"Seconds for {run.identity.settings.window} tokens\n(median ± half the interquartile range)")
    if many:
        legend(axes, frame)
    else:
        axes.legend(loc="best", frameon=False)
    label_points(figure, axes, quantized, "window_seconds", "low", "high")
    return figure


def _divergence_against_size(frame: pd.DataFrame, run: Run) -> Figure:
    figure, axes = new_figure(run, "Divergence from the reference against file size: lower left is better")
    frame, unit = with_sizes(frame[frame["kl"].notna()])
    points(axes, frame, "kl", "kl_low", "kl_high")
    if frame["kl"].max() / frame["kl"].min() > 4:
        logarithmic(axes)
    arrows(axes, frame, "kl")
    axes.margins(x=0.08)
    axes.set_xlabel(f"File size ({unit})")
    axes.set_ylabel("Mean KL divergence (nats)" + (" with 95 % interval" if frame["kl_low"].notna().any() else ""))
    legend(axes, frame)
    label_points(figure, axes, frame, "kl", "kl_low", "kl_high")
    return figure


def _perplexity_changes(frame: pd.DataFrame, run: Run) -> Figure:
    rows = frame[frame["ppl_change_vs_standard"].notna()].iloc[::-1]
    title = "Change of perplexity against Standard of the same type"
    figure, axes = new_figure(run, title, height=1.9 + 0.5 * len(rows))
    change = 100 * rows["ppl_change_vs_standard"]
    errors = None
    if rows["ppl_change_vs_standard_low"].notna().all():
        errors = [change - 100 * rows["ppl_change_vs_standard_low"], 100 * rows["ppl_change_vs_standard_high"] - change]
    bars: dict[str, Any] = {
        "color": [STYLE.get(str(f), {"color": GREY})["color"] for f in rows["family"]],
        "height": 0.6,
        "error_kw": {"capsize": 3, "lw": 1.2},
    }
    axes.barh(rows["recipe"], change, xerr=errors, **bars)
    for recipe, value in zip(rows["recipe"], change, strict=True):
        side: dict[str, Any] = {"xytext": (6 if value < 0 else -6, 0), "ha": "left" if value < 0 else "right"}
        axes.annotate(f"{value:+.1f}%", (0, recipe), textcoords="offset points", va="center", fontsize=9, **side)
    axes.axvline(0, color="black", lw=1)
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("Change of perplexity in %, paired by window" + (", with 95 % interval" if errors else ""))
    return figure


def draw(run: Run) -> dict[str, Figure]:
    """Every plot that the run has the figures for."""
    frame = full_frame(run)
    if "ppl" not in frame or frame["ppl"].notna().sum() < 2:
        return {}
    frame = frame[frame["ppl"].notna()]
    with plt.rc_context(RC):
        drawn = {"ppl-size": _perplexity_against_size(frame, run)}
        if "kl" in frame and frame["kl"].notna().sum() > 1:
            drawn["kl-size"] = _divergence_against_size(frame, run)
        if "ppl_change_vs_standard" in frame and frame["ppl_change_vs_standard"].notna().any():
            drawn["ppl-change"] = _perplexity_changes(frame, run)
        together = frame[[_in_one_sitting(run, name) for name in frame["recipe"]]]
        if len(together) >= _ENOUGH:
            drawn["speed-size"] = _speed_against_size(together, run)
        return drawn
