"""Plots out of records, as PNG and SVG: perplexity against size, speed against size, changes of perplexity.

Colours are Okabe and Ito's, told apart with any kind of colour vision; families also differ by marker.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.gguf_io import complete_or_absent
from bench.propagation_tables import errors
from bench.recipes import AUTOMATIC
from bench.results import Run
from bench.tables import GATED, full_frame, pairs, perplexity_text, seconds, windows_text

STYLE = {
    "Standard": {"color": "#0072B2", "marker": "o"},
    "DynamicGate": {"color": "#D55E00", "marker": "D"},
    "DynamicGate, full": {"color": "#E69F00", "marker": "s"},
    "Automatic": {"color": "#009E73", "marker": "P"},
    "Automatic, random": {"color": "#CC79A7", "marker": "X"},
    "DynamicGate, random": {"color": "#56B4E9", "marker": "X"},
    "Reference": {"color": "#000000", "marker": "s"},
}
GREY = "#666666"
RC: dict[Any, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    # the same records give the same file, byte for byte
    "svg.hashsalt": "dynamicgate-bench",
    "svg.fonttype": "none",
}


def write_plots(run: Run, directory: Path) -> None:
    """Write every plot that the run has the figures for."""
    frame = full_frame(run)
    if "ppl" not in frame or frame["ppl"].notna().sum() < 2:
        return
    frame = frame[frame["ppl"].notna()]
    with plt.rc_context(RC):
        plots = {"ppl-size": _perplexity_against_size, "speed-size": _speed_against_size}
        if "kl" in frame and frame["kl"].notna().sum() > 1:
            plots["kl-size"] = _divergence_against_size
        if "ppl_change_vs_standard" in frame and frame["ppl_change_vs_standard"].notna().any():
            plots["ppl-change"] = _perplexity_changes
        figures = {name: draw(frame, run) for name, draw in plots.items()}
        if (propagation := _error_propagation(run)) is not None:
            figures["error-propagation"] = propagation
        for name, figure in figures.items():
            save(figure, directory / name)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and SVG, the same bytes for the same figure, and let go of it. path: without suffix."""
    for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
        with complete_or_absent(path.with_name(path.name + suffix)) as partial:
            figure.savefig(partial, format=suffix[1:], metadata=metadata)
    plt.close(figure)


def caption(run: Run) -> str:
    """Model, prompts and machine in two lines: what every plot says of itself."""
    i = run.identity
    return (
        f"{i.model.name}, {windows_text(run)} of {i.prompts.name}\n"
        f"{i.machine.cpu}, {i.settings.threads} threads, {i.library.isa} kernels, llama-cpp-python {i.library.binding}"
    )


def _figure(run: Run, title: str, height: float = 5.0) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(8, height), layout="constrained")
    axes.set_title(title, loc="left", fontweight="bold")
    figure.supxlabel(caption(run), fontsize=8, color=GREY, x=0.01, ha="left")
    return figure, axes


def _with_sizes(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The frame with a column `x`, the files' sizes in the unit that is returned with it."""
    unit, name = (1e9, "GB") if frame["bytes"].max() >= 1e9 else (1e6, "MB")
    return frame.assign(x=frame["bytes"] / unit), name


def _logarithmic(axes: Axes) -> None:
    """A logarithmic y axis with ticks a person reads: 20, 50, 100, not powers."""
    axes.set_yscale("log")
    axis = axes.yaxis
    low, high = axes.get_ylim()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 1000 else (1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _points(axes: Axes, frame: pd.DataFrame, y: str, low: str, high: str) -> None:
    """Every family's points with their error bars, where there are any."""
    for family, rows in frame.groupby("family", sort=False):
        style = STYLE.get(str(family), {"color": GREY, "marker": "^"})
        errors = None
        if rows[low].notna().all():
            errors = [rows[y] - rows[low], rows[high] - rows[y]]
        look: dict[str, Any] = {"ms": 6, "capsize": 3, "lw": 1.2, "zorder": 3}
        axes.errorbar(
            rows["x"], rows[y], yerr=errors, fmt=style["marker"], color=style["color"], label=str(family), **look
        )


def _label_points(axes: Axes, frame: pd.DataFrame, y: str, low: str) -> None:
    """The type's name below each standard point and its error bar, where no arrow passes; above it where better ones are below."""
    above = (frame["family"] == AUTOMATIC).any()
    for row in frame[frame["family"] == "Standard"].to_dict("records"):
        bottom = row[y] if pd.isna(row[low]) else row[low]
        text: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 8, "color": GREY}
        place, shift = (row["x"], bottom), (0, -6)
        if above:
            place, shift, text["ha"], text["va"] = (row["x"], row[y]), (6, 3), "left", "bottom"
        axes.annotate(row["recipe"], place, textcoords="offset points", xytext=shift, **text)


def _reference_line(axes: Axes, frame: pd.DataFrame, y: str, unit: str, form: Callable[[float], str]) -> None:
    """The reference as a line across the plot: its size is far outside that of what is compared."""
    for row in frame[frame["family"] == "Reference"].to_dict("records"):
        axes.axhline(row[y], color="black", lw=1, ls="--", zorder=1)
        text = f"{row['recipe']} reference, {row['x']:.0f} {unit}: {form(row[y])}"
        place: dict[str, Any] = {"textcoords": "offset points", "xytext": (4, 4), "ha": "left", "va": "bottom"}
        place["bbox"] = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
        axes.annotate(text, (0, row[y]), xycoords=("axes fraction", "data"), fontsize=8, **place)


def _arrows(axes: Axes, frame: pd.DataFrame, y: str) -> None:
    """From every standard file to its DynamicGate counterparts, and along the automatic recipes."""
    automatic = frame[frame["family"] == AUTOMATIC].sort_values("x")
    axes.plot(automatic["x"], automatic[y], color=STYLE[AUTOMATIC]["color"], lw=1, zorder=1)
    rows = frame.to_dict("records")
    standard = {row["base"]: row for row in rows if row["family"] == "Standard"}
    look = {"arrowstyle": "->", "color": "#999999", "lw": 1, "shrinkA": 5, "shrinkB": 5}
    for row in rows:
        start = standard.get(row["base"])
        if row["family"] in GATED and start is not None:
            axes.annotate("", (row["x"], row[y]), (start["x"], start[y]), arrowprops=look, zorder=2)


def _legend(axes: Axes, frame: pd.DataFrame) -> None:
    """Inside, above on the right, where the large files leave room; beside the plot when there are many families."""
    many = frame["family"].nunique() > 4
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if many else {"loc": "upper right"}
    axes.legend(frameon=False, **place)


def _perplexity_against_size(frame: pd.DataFrame, run: Run) -> Figure:
    figure, axes = _figure(run, "Perplexity against file size: lower and further left is better")
    frame, unit = _with_sizes(frame)
    quantized = frame[frame["family"] != "Reference"]
    _points(axes, quantized, "ppl", "ppl_low", "ppl_high")
    _reference_line(axes, frame, "ppl", unit, perplexity_text)
    if frame["ppl"].max() / frame["ppl"].min() > 4:
        _logarithmic(axes)
    _arrows(axes, frame, "ppl")
    _label_points(axes, quantized, "ppl", "ppl_low")
    axes.margins(x=0.08)
    axes.set_xlabel(f"File size ({unit})")
    axes.set_ylabel("Perplexity" + (" with 95 % interval" if frame["ppl_low"].notna().any() else ""))
    _legend(axes, frame)
    return figure


def _speed_against_size(frame: pd.DataFrame, run: Run) -> Figure:
    figure, axes = _figure(run, "Time for one window against file size: lower is faster")
    frame, unit = _with_sizes(frame)
    middle, half = frame["window_seconds"], frame["window_seconds_half_iqr"]
    frame = frame.assign(low=middle - half, high=middle + half)
    quantized = frame[frame["family"] != "Reference"]
    _points(axes, quantized, "window_seconds", "low", "high")
    _reference_line(axes, frame, "window_seconds", unit, seconds)
    _arrows(axes, frame, "window_seconds")
    _label_points(axes, quantized, "window_seconds", "low")
    axes.margins(x=0.08, y=0.15)
    axes.set_xlabel(f"File size ({unit})")
    axes.set_ylabel(f"Seconds for {run.identity.settings.window} tokens\n(median ± half the interquartile range)")
    axes.legend(loc="upper center", ncols=2, frameon=False)
    return figure


def _divergence_against_size(frame: pd.DataFrame, run: Run) -> Figure:
    figure, axes = _figure(run, "Divergence from the reference against file size: lower left is better")
    frame, unit = _with_sizes(frame[frame["kl"].notna()])
    _points(axes, frame, "kl", "kl_low", "kl_high")
    if frame["kl"].max() / frame["kl"].min() > 4:
        _logarithmic(axes)
    _arrows(axes, frame, "kl")
    _label_points(axes, frame, "kl", "kl_low")
    axes.margins(x=0.08)
    axes.set_xlabel(f"File size ({unit})")
    axes.set_ylabel("Mean KL divergence (nats)" + (" with 95 % interval" if frame["kl_low"].notna().any() else ""))
    _legend(axes, frame)
    return figure


def _perplexity_changes(frame: pd.DataFrame, run: Run) -> Figure:
    rows = frame[frame["ppl_change_vs_standard"].notna()].iloc[::-1]
    title = "Change of perplexity against Standard of the same type"
    figure, axes = _figure(run, title, height=1.9 + 0.5 * len(rows))
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
