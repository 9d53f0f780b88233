"""Plots out of records, as PNG and SVG: perplexity against size, speed against size, changes of perplexity.

Colours are Okabe and Ito's, told apart with any kind of colour vision; families also differ by marker.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from bench.gguf_files.info import complete_or_absent
from bench.measures.propagation.tables import errors
from bench.measures.windows.tables import GATED, full_frame, pairs, perplexity_text, seconds, windows_text
from bench.recipes.recipe import AUTOMATIC
from bench.records.run import Run

STYLE = {
    "Standard": {"color": "#0072B2", "marker": "o"},
    "DynamicGate": {"color": "#D55E00", "marker": "D"},
    "DynamicGate, full": {"color": "#E69F00", "marker": "s"},
    "Automatic": {"color": "#009E73", "marker": "P"},
    "Automatic, random": {"color": "#CC79A7", "marker": "X"},
    "DynamicGate, random": {"color": "#56B4E9", "marker": "X"},
    "Published": {"color": "#000000", "marker": "*"},
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
        _remove(_ALL, directory)
        return
    frame = frame[frame["ppl"].notna()]
    with plt.rc_context(RC):
        plots = {"ppl-size": _perplexity_against_size, "speed-size": _speed_against_size}
        if "kl" in frame and frame["kl"].notna().sum() > 1:
            plots["kl-size"] = _divergence_against_size
        if "ppl_change_vs_standard" in frame and frame["ppl_change_vs_standard"].notna().any():
            plots["ppl-change"] = _perplexity_changes
        together = frame[[_in_one_sitting(run, name) for name in frame["recipe"]]]
        if len(together) < _ENOUGH:
            del plots["speed-size"]
        figures = {name: draw(together if name == "speed-size" else frame, run) for name, draw in plots.items()}
        if (propagation := _error_propagation(run)) is not None:
            figures["error-propagation"] = propagation
        _remove(_ALL - figures.keys(), directory)
        for name, figure in figures.items():
            save(figure, directory / name)


_ALL = {"ppl-size", "speed-size", "kl-size", "ppl-change", "error-propagation"}


def _remove(names: Collection[str], directory: Path) -> None:
    """Remove plots of records that had the figures for them."""
    for name in names:
        for suffix in (".png", ".svg"):
            (directory / f"{name}{suffix}").unlink(missing_ok=True)


#: Files that were timed together, the reference among them, for a plot of their speed.
_ENOUGH = 3


def _in_one_sitting(run: Run, name: str) -> bool:
    """Whether a file's times compare with the reference's: times of different sittings do not."""
    if run.reference is None or name == run.reference:
        return True
    return len(run.same_sitting(run.reference, name)[0]) == run.identity.windows


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


def family_styles(families: Iterable[str]) -> dict[str, dict[str, str]]:
    """Colour and marker of every family: the same everywhere for those of STYLE, grey with a marker of its own for others."""
    markers, styles = cycle("^v<>ph"), {}
    for family in dict.fromkeys(families):
        styles[family] = STYLE.get(family) or {"color": GREY, "marker": next(markers)}
    return styles


def _points(axes: Axes, frame: pd.DataFrame, y: str, low: str, high: str) -> None:
    """Every family's points with their error bars, where there are any."""
    styles = family_styles(frame["family"])
    for family, rows in frame.groupby("family", sort=False):
        style = styles[str(family)]
        errors = None
        if rows[low].notna().all():
            errors = [rows[y] - rows[low], rows[high] - rows[y]]
        look: dict[str, Any] = {"ms": 6, "capsize": 3, "lw": 1.2, "zorder": 3}
        axes.errorbar(
            rows["x"], rows[y], yerr=errors, fmt=style["marker"], color=style["color"], label=str(family), **look
        )


def _places() -> list[tuple[tuple[float, float], str, str]]:
    """Where a label may stand, from its point, in points, and how its text is aligned there: near ones first, and of those the left
    ones, since arrows go to the right and error bars up and down."""
    places = []
    for distance in (8, 14, 22, 34, 50, 70, 95, 120):
        for degrees in (180, 165, 195, 90, 270, 0, 15, 345, 140, 40, 220, 320, 60, 300, 115, 245):
            x, y = distance * np.cos(np.radians(degrees)), distance * np.sin(np.radians(degrees))
            upright = abs(x) < 0.2 * distance
            places.append(
                (
                    (x, y),
                    "center" if upright else "left" if x > 0 else "right",
                    ("top" if y < 0 else "bottom") if upright else "center",
                )
            )
    return places


#: A line leads from a label further away than this to its point.
_NEAR = 13


def _label_points(figure: Figure, axes: Axes, frame: pd.DataFrame, y: str, low: str, high: str) -> None:
    """The type's name beside each standard point, where it hides no point, error bar or other label if there is such a place."""
    figure.draw_without_rendering()  # places are pixels, which the layout decides
    to_pixels = axes.transData.transform
    taken: list[Bbox] = []
    for row in frame.to_dict("records"):
        x, middle = to_pixels((row["x"], row[y]))
        ends = [to_pixels((row["x"], row[end]))[1] if pd.notna(row[end]) else middle for end in (low, high)]
        taken += [
            Bbox.from_extents(x - 6, middle - 6, x + 6, middle + 6),
            Bbox.from_extents(x - 2, ends[0], x + 2, ends[1]),
        ]
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    inside = axes.get_window_extent()
    for row in frame[frame["family"] == "Standard"].sort_values("x").to_dict("records"):
        tried: list[tuple[float, int, dict[str, Any], Bbox]] = []
        for shift, ha, va in _places():
            look: dict[str, Any] = {"xytext": shift, "ha": ha, "va": va, "fontsize": 8, "color": GREY}
            if np.hypot(*shift) > _NEAR:
                look["arrowprops"] = {"arrowstyle": "-", "color": "#aaaaaa", "lw": 0.7, "shrinkA": 0, "shrinkB": 4}
            label = axes.annotate(row["recipe"], (row["x"], row[y]), textcoords="offset points", **look)
            label.update_positions(renderer)
            box = Text.get_window_extent(label, renderer)  # of the text alone, without the line
            label.remove()
            outside = not (inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1)
            tried.append((box.count_overlaps(taken) + 10 * outside, len(tried), look, box))
            if tried[-1][0] == 0:
                break
        _, _, look, box = min(tried, key=lambda t: t[:2])
        axes.annotate(row["recipe"], (row["x"], row[y]), textcoords="offset points", **look)
        taken.append(box)


def _reference_line(axes: Axes, frame: pd.DataFrame, y: str, unit: str, form: Callable[[float], str]) -> None:
    """The reference as a line across the plot: its size is far outside that of what is compared."""
    for row in frame[frame["family"] == "Reference"].to_dict("records"):
        axes.axhline(row[y], color="black", lw=1, ls="--", zorder=1)
        text = f"{row['recipe']} reference, {row['x']:.0f} {unit}: {form(row[y])}"
        place: dict[str, Any] = {"textcoords": "offset points", "xytext": (4, 4), "ha": "left", "va": "bottom"}
        place["bbox"] = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
        axes.annotate(text, (0, row[y]), xycoords=("axes fraction", "data"), fontsize=8, **place)


def _arrows(axes: Axes, frame: pd.DataFrame, y: str) -> None:
    """Along the automatic recipes; where there are none from every standard file to its DynamicGate counterparts."""
    automatic = frame[frame["family"] == AUTOMATIC].sort_values("x")
    if len(automatic):
        axes.plot(automatic["x"], automatic[y], color=STYLE[AUTOMATIC]["color"], lw=1, zorder=1)
        return
    rows = frame.to_dict("records")
    standard = {row["base"]: row for row in rows if row["family"] == "Standard"}
    look = {"arrowstyle": "->", "color": "#999999", "lw": 1, "shrinkA": 5, "shrinkB": 5}
    for row in rows:
        start = standard.get(row["base"])
        if row["family"] in GATED and start is not None:
            axes.annotate("", (row["x"], row[y]), (start["x"], start[y]), arrowprops=look, zorder=2)


#: A legend of more families than this stands beside the plot.
_FAMILIES_INSIDE = 4


def _legend(axes: Axes, frame: pd.DataFrame) -> None:
    """Inside, above on the right, where the large files leave room; beside the plot when there are many families."""
    many = frame["family"].nunique() > _FAMILIES_INSIDE
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
    axes.margins(x=0.08)
    axes.set_xlabel(f"File size ({unit})")
    axes.set_ylabel("Perplexity" + (" with 95 % interval" if frame["ppl_low"].notna().any() else ""))
    _legend(axes, frame)
    _label_points(figure, axes, quantized, "ppl", "ppl_low", "ppl_high")
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
    axes.margins(x=0.08, y=0.15)
    many = frame["family"].nunique() > _FAMILIES_INSIDE
    axes.set_xlabel(f"File size ({unit})")
    axes.set_ylabel(f"Seconds for {run.identity.settings.window} tokens\n(median ± half the interquartile range)")
    if many:
        _legend(axes, frame)
    else:
        axes.legend(loc="best", frameon=False)
    _label_points(figure, axes, quantized, "window_seconds", "low", "high")
    return figure


def _divergence_against_size(frame: pd.DataFrame, run: Run) -> Figure:
    figure, axes = _figure(run, "Divergence from the reference against file size: lower left is better")
    frame, unit = _with_sizes(frame[frame["kl"].notna()])
    _points(axes, frame, "kl", "kl_low", "kl_high")
    if frame["kl"].max() / frame["kl"].min() > 4:
        _logarithmic(axes)
    _arrows(axes, frame, "kl")
    axes.margins(x=0.08)
    axes.set_xlabel(f"File size ({unit})")
    axes.set_ylabel("Mean KL divergence (nats)" + (" with 95 % interval" if frame["kl_low"].notna().any() else ""))
    _legend(axes, frame)
    _label_points(figure, axes, frame, "kl", "kl_low", "kl_high")
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
