"""Plots of windows: quality against size with the front of all files, its tail, quality against generation speed, and
changes against Standard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bench.core.formats import percent
from bench.measures.named_points import draw_line, name_bars
from bench.measures.plotting import (
    GREY,
    RC,
    STYLE,
    arrows,
    caption,
    describe_figure,
    draw_front,
    family_styles,
    front_of,
    label_points,
    legend,
    legend_above,
    logarithmic,
    name_ends,
    new_figure,
    points,
    size_axis,
)
from bench.measures.windows import statistics as stats
from bench.measures.windows.positions import ByPosition, by_position
from bench.measures.windows.runs import windows_of
from bench.measures.windows.tables import full_frame
from bench.recipes.recipe import AUTOMATIC
from bench.records.resolution import resolution
from bench.records.run import Run

#: A plot of fewer files shows nothing.
_ENOUGH = 3
#: A plot of more lines cannot be read.
_LINES = 16
#: Intervals of more lines hide each other.
_BANDS = 3
#: Room for names of lines, as a share of their length.
_FOR_NAMES = 0.2


def _files(run: Run) -> pd.DataFrame:
    """Quantized files that the reference can judge, with what plots show of them and figures of full_frame."""
    frame = full_frame(run)
    if "ppl_change_vs_reference" not in frame:
        return pd.DataFrame()
    shown = (frame["family"] != "Reference") & ~frame["recipe"].isin(resolution(run).beyond)
    frame = frame[shown & frame["ppl_change_vs_reference"].notna()]
    for part in ("", "_low", "_high"):
        frame = frame.assign(**{f"ppl_ratio{part}": frame[f"ppl_change_vs_reference{part}"] + 1})
        if "same_top" in frame:
            # few same are many flips: the ends change places
            other = {"_low": "_high", "_high": "_low"}.get(part, part)
            frame = frame.assign(**{f"flips{part}": 1 - frame[f"same_top{other}"]})
    return frame


def _said(run: Run, *more: str) -> str:
    """What a plot says of itself, and how many files are not drawn."""
    told = resolution(run)
    n = len(told.beyond)
    left_out = f"Not drawn: {n} file{'s' if n > 1 else ''} of mostly {told.bits} bits and more; the reference was once {' and '.join(told.types)}"
    return caption(run, *([left_out] if n else []), *more)


def _against_size(axes: Axes, frame: pd.DataFrame, y: str, label: str, *, is_share: bool = False) -> None:
    """A figure of every file against its size, with the front of all files but random controls. is_share: of 1, shown in %."""
    frame = size_axis(axes, frame)
    if is_share:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    else:
        logarithmic(axes, "y", frame[y])
    axes.set_ylabel(label)
    draw_front(axes, front_of(frame[~frame["family"].str.contains("random")], y), y)
    if not (frame["family"] == AUTOMATIC).any():
        arrows(axes, frame, y)
    points(axes, frame, y)
    axes.margins(x=0.08, y=0.08)
    if not is_share:  # stands below another panel, which has the legend
        legend(axes)
    label_points(axes, frame, y)


def _perplexity_against_size(run: Run, frame: pd.DataFrame) -> Figure:
    figure, [axes] = new_figure()
    describe_figure(figure, "Perplexity against file size: lower and further left is better", _said(run))
    _against_size(axes, frame, "ppl_ratio", f"Perplexity / the reference's, paired{_interval(frame, 'ppl_ratio')}")
    return figure


def _divergence_against_size(run: Run, frame: pd.DataFrame) -> Figure:
    figure, [axes] = new_figure()
    describe_figure(figure, "Divergence against file size: lower and further left is better", _said(run))
    _against_size(axes, frame, "kl", f"Mean KL divergence from the reference (nats){_interval(frame, 'kl')}")
    return figure


def _tails_against_size(run: Run, frame: pd.DataFrame) -> Figure:
    figure, [above, below] = new_figure(8.2, 2)
    describe_figure(figure, "The worst tokens and changed answers, against file size", _said(run))
    _against_size(above, frame, "kl_99.9", "KL of the worst token in 1000 (nats)")
    label = f"Positions whose most likely token changed{_interval(frame, 'flips')}"
    _against_size(below, frame, "flips", label, is_share=True)
    return figure


def _interval(frame: pd.DataFrame, y: str) -> str:
    return "\n(with 95 % interval)" if frame[f"{y}_low"].notna().any() else ""


def _generation(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Generation speed in tokens a second of files that were timed side by side; empty when no file is shown to be faster than
    another."""
    if run.reference is None:
        return pd.DataFrame()
    timed = {}
    for name in frame["recipe"]:
        _, windows = windows_of(run).same_sitting(run.reference, name)
        seconds = [stats.token_seconds(w, run.identity.settings.generate) for w in windows if w.generate_seconds]
        if len(seconds) == run.windows:
            timed[name] = np.array(seconds)
    if len(timed) < _ENOUGH:
        return pd.DataFrame()
    estimates = stats.side_by_side(1 / np.stack(list(timed.values())))
    speeds = pd.DataFrame(
        [{"recipe": n, "speed": e.value, "speed_low": e.low, "speed_high": e.high} for n, e in zip(timed, estimates, strict=True)]
    ).dropna()  # fmt: skip
    shown = len(speeds) and speeds["speed_low"].max() > speeds["speed_high"].min()
    return frame.merge(speeds, on="recipe") if shown else pd.DataFrame()


def _divergence_against_speed(run: Run, frame: pd.DataFrame) -> Figure:
    figure, [axes] = new_figure()
    title = "Divergence against generation speed: lower and further right is better"
    describe_figure(figure, title, _said(run, "Speeds are adjusted for how fast the machine was in each pass"))
    points(axes, frame, "kl", x="speed")
    logarithmic(axes, "y", frame["kl"])
    axes.set_xlabel("Tokens a second (with 95 % interval)")
    axes.set_ylabel(f"Mean KL divergence from the reference (nats){_interval(frame, 'kl')}")
    axes.margins(x=0.1, y=0.08)
    legend(axes, "best")
    label_points(axes, frame, "kl", x="speed")
    return figure


def _divergence_by_position(run: Run, found: Mapping[str, ByPosition]) -> Figure:
    """A line a file along the window."""
    figure, [axes] = new_figure()
    title = "Divergence along the window"
    banded = len(found) <= _BANDS
    sure = "; bands: 95 % intervals, which windows of different text make wide" if banded else ""
    describe_figure(figure, title, _said(run, f"Mean over windows, by parts of the scored tokens{sure}"))
    styles = family_styles(run.files[name].family for name in found)
    ends, drawn = [], [float(v) for of in found.values() for v in of.kl.mean(axis=0)]
    for name, of in found.items():
        kl, family = of.kl.mean(axis=0), run.files[name].family
        middles, colour = (of.first + of.last) / 2, styles[family]["color"]
        said = f"{name}: {kl[0]:.3g} at the beginning, {kl[-1]:.3g} at the end"
        draw_line(axes, said, middles, kl, lw=1.2, label=family, color=colour)
        ends.append((name, float(kl[-1]), colour))
        of_parts = of.mean(of.kl, "logarithm")
        low, high = ([x for e in of_parts if (x := getattr(e, end)) is not None] for end in ("low", "high"))
        if banded and len(low) == len(middles):
            axes.fill_between(middles, low, high, color=colour, alpha=0.15, lw=0)
            drawn += [*low, *high]
    logarithmic(axes, "y", drawn)
    axes.set_xlim(right=middles[-1] + _FOR_NAMES * (middles[-1] - middles[0]))
    axes.set_xlabel("Position in the window (tokens)")
    axes.set_ylabel("Mean KL divergence from the reference (nats)")
    legend_above(axes)
    name_ends(axes, middles[-1], ends)
    return figure


def _by_position(run: Run) -> dict[str, ByPosition]:
    """Of files that differ from the reference and that it can judge; of a run of few enough for a plot."""
    named = [n for n in run.files if n not in resolution(run).beyond]
    found = {n: of for n in named if (of := by_position(run, n)) is not None and of.kl.min() > 0}
    return found if len(found) <= _LINES else {}


def _perplexity_changes(run: Run, frame: pd.DataFrame) -> Figure:
    rows = frame[frame["ppl_change_vs_standard"].notna()].iloc[::-1]
    figure, [axes] = new_figure(1.7 + 0.32 * len(rows))
    describe_figure(figure, "Change of perplexity against Standard of the same type", _said(run))
    change = 100 * rows["ppl_change_vs_standard"]
    errors = None
    if rows["ppl_change_vs_standard_low"].notna().all():
        errors = [change - 100 * rows["ppl_change_vs_standard_low"], 100 * rows["ppl_change_vs_standard_high"] - change]
    bars: dict[str, Any] = {
        "color": [STYLE.get(str(f), {"color": GREY})["color"] for f in rows["family"]],
        "height": 0.6,
        "error_kw": {"capsize": 2, "lw": 1},
    }
    drawn = axes.barh(rows["recipe"], change, xerr=errors, **bars)
    name_bars(drawn, _changes_in_words(rows))
    for recipe, value in zip(rows["recipe"], change, strict=True):
        side: dict[str, Any] = {"xytext": (6 if value < 0 else -6, 0), "ha": "left" if value < 0 else "right"}
        axes.annotate(f"{value:+.1f}%", (0, recipe), textcoords="offset points", va="center", fontsize=9, **side)
    axes.axvline(0, color="black", lw=1)
    axes.margins(x=0.14)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("Change of perplexity in %, paired by window" + (", with 95 % interval" if errors else ""))
    return figure


def _changes_in_words(rows: pd.DataFrame) -> list[str]:
    """What a bar says under the pointer: the file, its change, and the interval where there is one."""
    columns = [f"ppl_change_vs_standard{end}" for end in ("", "_low", "_high")]
    values = rows[["recipe", *columns]].itertuples(index=False, name=None)
    return [
        f"{recipe}: {percent(change)}" + (f" [{percent(low)}, {percent(high)}]" if pd.notna(low) else "")
        for recipe, change, low, high in values
    ]


def draw(run: Run) -> dict[str, Figure]:
    """Every plot that the run has the figures for."""
    frame = _files(run)
    drawn: dict[str, Figure] = {}
    with plt.rc_context(RC):
        if len(frame) >= 2:
            drawn["ppl-size"] = _perplexity_against_size(run, frame)
        # a file that is equal to the reference has no place on a logarithmic axis
        compared = frame[frame["kl"] > 0] if "kl" in frame else frame.iloc[:0]
        if len(compared) >= 2:
            drawn["kl-size"] = _divergence_against_size(run, compared)
            if len(tails := compared[compared["kl_99.9"] > 0]) >= 2:
                drawn["tails-size"] = _tails_against_size(run, tails)
            if len(timed := _generation(run, compared)):
                drawn["kl-speed"] = _divergence_against_speed(run, timed)
        if positions := _by_position(run):
            drawn["kl-position"] = _divergence_by_position(run, positions)
        if "ppl_change_vs_standard" in frame and frame["ppl_change_vs_standard"].notna().any():
            drawn["ppl-change"] = _perplexity_changes(run, frame)
    return drawn
