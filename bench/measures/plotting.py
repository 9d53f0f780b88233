"""Parts of plots: colours, the front, labels that hide nothing, the caption of every plot.

Figures are 6.4 inches wide, so that their text of 10 points can be read in a README and on a phone. Colours are Okabe and
Ito's, distinguishable with any kind of colour vision; families also differ by marker.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import textalloc
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.measures.named_points import name_points
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
#: Colours of lines that are of no family.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
GREY = "#666666"
WIDTH = 6.4

RC: dict[Any, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    # names of models and recipes are no mathematics, whatever dollar signs are in them
    "text.parse_math": False,
    # the same records give the same file, byte for byte
    "svg.hashsalt": "dynamicgate-bench",
    "svg.fonttype": "none",
}

#: A run of more files than these has too many names for a plot.
_ALL_LABELLED = 16
#: Points from one name of a line to the next.
_NAME_HEIGHT = 9.0
#: A legend of more families than these has two columns.
_ONE_COLUMN = 5


def check_plot_name(path: Path) -> None:
    """Raise BenchError for the name of a plot that says of no picture."""
    if path.suffix not in (".png", ".svg"):
        raise BenchError(f"--plot {path}: give a file that ends in .png or .svg; both are written")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and SVG, the same bytes for the same figure, and let go of it. path: without suffix."""
    for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
        with complete_or_absent(path.with_name(path.name + suffix)) as partial:
            figure.savefig(partial, format=suffix[1:], metadata=metadata)
    plt.close(figure)


def caption(run: Run, *more: str) -> str:
    """Model, prompts and machine: what every plot says of itself, and a line for each that this one has to say."""
    i = run.identity
    return "\n".join(
        [
            *more,
            f"{i.model.name}, {windows_text(run)} of {i.prompts.name}",
            f"{i.machine.cpu}, {i.settings.threads} threads, {i.library.isa} kernels, llama-cpp-python {i.library.binding}",
        ]
    )


#: Characters in a line below a figure.
_CAPTION = 108


def describe_figure(figure: Figure, title: str, said: str) -> None:
    """The figure's title above, and what it says of itself below."""
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
    folded = "\n".join(part for line in said.splitlines() for part in textwrap.wrap(line, _CAPTION))
    figure.supxlabel(folded, fontsize=7.5, color=GREY, x=0.01, ha="left")


def new_figure(height: float = 4.6, panels: int = 1, *, beside: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with its panels, one above the other, or beside each other."""
    rows, columns = (1, panels) if beside else (panels, 1)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), layout="constrained", squeeze=False)
    return figure, list(axes.flat)


def readable(axis: Axis, low: float, high: float) -> None:
    """A logarithmic axis with ticks that a person reads: 20, 50, 100, not powers."""
    ratio = high / low
    if ratio < 1.6:
        axis.set_major_locator(MaxNLocator(6))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
        return
    subs = (
        (1.0,) if ratio > 300 else (1.0, 2.0, 5.0) if ratio > 6 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
    )
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(NullLocator())


def logarithmic(axes: Axes, which: Literal["x", "y"], values: Iterable[float]) -> None:
    """A logarithmic axis for these values, which are above zero."""
    known = list(values)
    if which == "x":
        axes.set_xscale("log")
        readable(axes.xaxis, min(known), max(known))
    else:
        axes.set_yscale("log")
        readable(axes.yaxis, min(known), max(known))


def size_axis(axes: Axes, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with a column `x`, sizes of files in MB or GB, and a logarithmic axis for it."""
    unit, name = (1e9, "GB") if frame["bytes"].max() >= 1e9 else (1e6, "MB")
    frame = frame.assign(x=frame["bytes"] / unit)
    logarithmic(axes, "x", frame["x"])
    axes.set_xlabel(f"File size in {name}")
    return frame


def family_styles(families: Iterable[str]) -> dict[str, dict[str, str]]:
    """Colour and marker of every family: the same everywhere for those of STYLE, grey with a marker of its own for others."""
    markers, styles = cycle("^v<>ph"), {}
    for family in dict.fromkeys(families):
        styles[family] = STYLE.get(family) or {"color": GREY, "marker": next(markers)}
    return styles


def points(axes: Axes, frame: pd.DataFrame, y: str, *, x: str = "x") -> None:
    """Every family's points, with error bars where the columns `y`_low and `y`_high (and those of x) hold any."""
    styles = family_styles(frame["family"])
    for family, rows in frame.groupby("family", sort=False):
        style = styles[str(family)]
        errors: dict[str, Any] = {f"{axis}err": _error_bars(rows, column) for axis, column in (("y", y), ("x", x))}
        look: dict[str, Any] = {"ms": 5.5, "capsize": 2, "lw": 1, "zorder": 3}
        axes.errorbar(rows[x], rows[y], **errors, fmt=style["marker"], color=style["color"], label=str(family), **look)
    name_points(axes, frame, x, y)


def _error_bars(rows: pd.DataFrame, column: str) -> list[pd.Series] | None:
    low, high = f"{column}_low", f"{column}_high"
    if low not in rows or not rows[low].notna().all():
        return None
    # resampled ends of no spread may miss their value by rounding
    return [(rows[column] - rows[low]).clip(lower=0), (rows[high] - rows[column]).clip(lower=0)]


def front_of(frame: pd.DataFrame, y: str, *, x: str = "x", more_is_better: bool = False) -> pd.DataFrame:
    """Files that no other file of the frame beats in both x and y by value, by x: y is better when lower, x too unless told."""
    kept, best = [], np.inf
    # of several with one x, the best comes first
    for index, row in frame.sort_values([x, y], ascending=[not more_is_better, True]).iterrows():
        if row[y] < best:
            kept.append(index)
            best = row[y]
    return frame.loc[kept]


def draw_front(axes: Axes, front: pd.DataFrame, y: str) -> None:
    """The front as steps: the best that files up to a size reach."""
    axes.step(front["x"], front[y], where="post", color="#aaaaaa", lw=1, zorder=1, label="best up to a size")


def label_points(axes: Axes, frame: pd.DataFrame, y: str, *, x: str = "x") -> None:
    """The name beside each point, where it hides no point, line, legend or other name. In a run of many files standard ones have
    a name, and the first and the last of the others."""
    shown = frame
    if len(frame) > _ALL_LABELLED:
        others = frame[frame["family"] != "Standard"].sort_values(x)
        shown = frame[(frame["family"] == "Standard") | frame.index.isin(others.index[[0, -1]])]
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]  # the layout decides where points are
    lines = [*_error_lines(frame, x, y), *_drawn_lines(axes)]
    styles = family_styles(frame["family"])
    textalloc.allocate(
        axes,
        shown[x].to_list(),
        shown[y].to_list(),
        shown["recipe"].to_list(),
        x_scatter=frame[x].to_list(),
        y_scatter=frame[y].to_list(),
        x_lines=[line[0] for line in lines],
        y_lines=[line[1] for line in lines],
        textsize=8,
        textcolor=[styles[f]["color"] for f in shown["family"]],
        linecolor="#bbbbbb",
        linewidth=0.7,
        min_distance=0.012,
        max_distance=0.15,
        avoid_label_lines_overlap=True,
        avoid_crossing_label_lines=True,
    )


def _error_lines(frame: pd.DataFrame, x: str, y: str) -> list[tuple[list[float], list[float]]]:
    """Error bars as lines (xs, ys)."""
    lines = []
    for row in frame.to_dict("records"):
        if pd.notna(row.get(f"{y}_low")):
            lines.append(([row[x], row[x]], [row[f"{y}_low"], row[f"{y}_high"]]))
        if pd.notna(row.get(f"{x}_low")):
            lines.append(([row[f"{x}_low"], row[f"{x}_high"]], [row[y], row[y]]))
    return lines


def _drawn_lines(axes: Axes) -> list[tuple[list[float], list[float]]]:
    """Steps of the front, arrows, and the diagonals of the legend, as lines (xs, ys)."""
    lines = []
    for line in axes.get_lines():
        if line.get_drawstyle() == "steps-post":
            xs, ys = (np.asarray(v, np.float64).tolist() for v in line.get_data())
            for i in range(len(xs) - 1):
                lines += [([xs[i], xs[i + 1]], [ys[i], ys[i]]), ([xs[i + 1], xs[i + 1]], [ys[i], ys[i + 1]])]
    for note in axes.texts:
        if isinstance(note, Annotation):
            (x0, y0), (x1, y1) = note.xyann, note.xy
            lines.append(([float(x0), float(x1)], [float(y0), float(y1)]))
    if (legend := axes.get_legend()) is not None:
        box = legend.get_window_extent().transformed(axes.transData.inverted())
        lines += [([box.x0, box.x1], [box.y0, box.y1]), ([box.x0, box.x1], [box.y1, box.y0])]
    return lines


def arrows(axes: Axes, frame: pd.DataFrame, y: str) -> None:
    """From every standard file to its DynamicGate counterpart: of the gate, and in a run without it of the full rule."""
    rows = frame.to_dict("records")
    gated = next((f for f in GATED if f in set(frame["family"])), None)
    standard = {row["base"]: row for row in rows if row["family"] == "Standard"}
    look = {"arrowstyle": "->", "color": "#bbbbbb", "lw": 0.8, "shrinkA": 4, "shrinkB": 4}
    for row in rows:
        start = standard.get(row["base"])
        if row["family"] == gated and start is not None:
            axes.annotate("", (row["x"], row[y]), (start["x"], start[y]), arrowprops=look, zorder=2)
    if any(row["family"] == gated and row["base"] in standard for row in rows):
        axes.plot([], [], color="#bbbbbb", lw=0.8, marker=">", ms=3.5, label="from Standard of its type")


def legend(axes: Axes, place: Literal["upper right", "lower right", "best"] = "upper right") -> None:
    """Inside: above on the right, where large files leave room, unless told. Many families get room of their own there."""
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # each name once
    labels, handles = list(named), list(named.values())
    if len(labels) > _ONE_COLUMN:
        axes.autoscale_view()
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** 0.35 if axes.get_yscale() == "log" else high + 0.35 * (high - low))
    markers: list[Any] = [h[0] if isinstance(h, ErrorbarContainer) else h for h in handles]
    columns = 2 if len(labels) > _ONE_COLUMN else 1
    axes.legend(markers, labels, loc=place, frameon=False, fontsize=8, ncols=columns, handletextpad=0.3)


def legend_above(axes: Axes, columns: int = 4) -> None:
    """Above the plot, where lines fill all of it: so many names in a row."""
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # each name once
    axes.legend(
        list(named.values()),
        list(named),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        frameon=False,
        fontsize=8,
    )


def name_ends(axes: Axes, x: float, ends: Iterable[tuple[str, float, str]]) -> None:
    """Names of lines beside their ends, on the right of a logarithmic y axis, none over another. ends: name, y, colour; call it when the
    axes have their limits."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]  # the layout decides where points are
    height = _NAME_HEIGHT * axes.figure.dpi / 72
    above = -np.inf
    for name, y, colour in sorted(ends, key=lambda end: end[1]):
        at = float(axes.transData.transform((x, y))[1])
        above = max(at, above + height)
        shift = (above - at) * 72 / axes.figure.dpi
        place: dict[str, Any] = {"xytext": (5, shift), "textcoords": "offset points", "va": "center", "fontsize": 7.5}
        axes.annotate(name, (x, y), color=colour, annotation_clip=False, **place)
