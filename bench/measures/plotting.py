"""What plots are made of: colours, labels that hide nothing, what every plot says of itself.

Colours are Okabe and Ito's, told apart with any kind of colour vision; families also differ by marker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from bench.core.files import complete_or_absent
from bench.recipes.recipe import AUTOMATIC
from bench.records.describe import windows_text
from bench.records.families import GATED
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


def new_figure(run: Run, title: str, height: float = 5.0) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(8, height), layout="constrained")
    axes.set_title(title, loc="left", fontweight="bold")
    figure.supxlabel(caption(run), fontsize=8, color=GREY, x=0.01, ha="left")
    return figure, axes


def with_sizes(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The frame with a column `x`, the files' sizes in the unit that is returned with it."""
    unit, name = (1e9, "GB") if frame["bytes"].max() >= 1e9 else (1e6, "MB")
    return frame.assign(x=frame["bytes"] / unit), name


def logarithmic(axes: Axes) -> None:
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


def points(axes: Axes, frame: pd.DataFrame, y: str, low: str, high: str) -> None:
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


def label_points(figure: Figure, axes: Axes, frame: pd.DataFrame, y: str, low: str, high: str) -> None:
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


def reference_line(axes: Axes, frame: pd.DataFrame, y: str, unit: str, form: Callable[[float], str]) -> None:
    """The reference as a line across the plot: its size is far outside that of what is compared."""
    for row in frame[frame["family"] == "Reference"].to_dict("records"):
        axes.axhline(row[y], color="black", lw=1, ls="--", zorder=1)
        text = f"{row['recipe']} reference, {row['x']:.0f} {unit}: {form(row[y])}"
        place: dict[str, Any] = {"textcoords": "offset points", "xytext": (4, 4), "ha": "left", "va": "bottom"}
        place["bbox"] = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
        axes.annotate(text, (0, row[y]), xycoords=("axes fraction", "data"), fontsize=8, **place)


def arrows(axes: Axes, frame: pd.DataFrame, y: str) -> None:
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
FAMILIES_INSIDE = 4


def legend(axes: Axes, frame: pd.DataFrame) -> None:
    """Inside, above on the right, where the large files leave room; beside the plot when there are many families."""
    many = frame["family"].nunique() > FAMILIES_INSIDE
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if many else {"loc": "upper right"}
    axes.legend(frameon=False, **place)
