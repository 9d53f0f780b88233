"""Plots of caches: a grid of types of keys and values, and the divergence along the window."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from bench.core.formats import divergence_text
from bench.engine.settings import CACHE_TYPES
from bench.measures.caches import statistics as stats
from bench.measures.caches.statistics import CONTROL, Measured
from bench.measures.named_points import draw_line
from bench.measures.plotting import COLOURS, GREY, RC, caption, describe_figure, logarithmic, name_ends, new_figure
from bench.records.run import Run

#: A grid has a panel for so many files at most, the first of the run.
_PANELS = 2
#: A grid is drawn where so much of it was measured.
_MOST = 0.6
#: Room for names of lines, as a share of their length.
_FOR_NAMES = 0.3


def draw(run: Run) -> dict[str, Figure]:
    """The plots that there are figures for."""
    found = {
        n: [m for m in of if not m.cache.is_plain and m.kl(stats.own)] for n, of in stats.all_measured(run).items()
    }
    found = {n: of for n, of in found.items() if of}
    drawn = {}
    with plt.rc_context(RC):
        if grids := {n: of for n, of in found.items() if _is_grid(of)}:
            drawn["cache-grid"] = _grids(run, dict(list(grids.items())[:_PANELS]))
        if found and next(iter(found.values()))[0].windows[0].by_position:
            drawn["cache-positions"] = _positions(run, *next(iter(found.items())))
    return drawn


def _cells(found: list[Measured]) -> dict[tuple[str, str], float]:
    """Divergence from the same file with a cache in f16, by types of keys and values, as llama.cpp does it unless told."""
    return {
        (m.cache.k, m.cache.v): kl.value
        for m in found
        if m.cache.flash and m.cache.rotation and (kl := m.kl(stats.own)) is not None
    }


def _is_grid(found: list[Measured]) -> bool:
    """Whether keys and values were varied apart: most pairs of the types that there are."""
    cells = _cells(found)
    ks, vs = _types(cells)
    return any(k != v for k, v in cells) and len(cells) >= _MOST * len(ks) * len(vs)


def _types(cells: Mapping[tuple[str, str], float]) -> tuple[list[str], list[str]]:
    """Types of keys and of values, most bits first; f16 is always there."""
    ks, vs = ([t for t in CACHE_TYPES if t == "f16" or any(pair[i] == t for pair in cells)] for i in (0, 1))
    return ks, vs


def _grids(run: Run, grids: dict[str, list[Measured]]) -> Figure:
    known = [v for of in grids.values() for v in _cells(of).values() if v > 0]
    norm = LogNorm(min(known), max(max(known), 1.01 * min(known)))
    figure, panels = new_figure(3.6, len(grids), beside=True)
    describe_figure(
        figure,
        "What the types of the KV cache cost",
        caption(run, "Mean divergence from the same file with a cache in f16, in nats; darker is worse"),
    )
    for axes, (name, of) in zip(panels, grids.items(), strict=True):
        _grid(axes, name, _cells(of), norm)
    return figure


def _grid(axes: Axes, name: str, cells: dict[tuple[str, str], float], norm: LogNorm) -> None:
    ks, vs = _types(cells)
    values = np.array([[cells.get((k, v), np.nan) for v in vs] for k in ks])
    axes.imshow(np.where(values > 0, values, np.nan), cmap="cividis_r", norm=norm, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if ks[row] == vs[column] == "f16":
            text, colour = "0", GREY
        elif np.isnan(value):
            continue
        else:
            text, colour = divergence_text(value), "white" if norm(value) > 0.55 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=colour)
    axes.set_xticks(range(len(vs)), vs)
    axes.set_yticks(range(len(ks)), ks)
    axes.set_xlabel("Type of values (V)")
    axes.set_ylabel("Type of keys (K)")
    axes.set_title(name, fontsize=9)
    axes.grid(False)


def _positions(run: Run, name: str, found: list[Measured]) -> Figure:
    """Divergence along the window, a line a cache."""
    figure, [axes] = new_figure(4.0)
    describe_figure(
        figure,
        f"Divergence of KV caches along the window: {name}",
        caption(run, "Mean divergence from the same file with a cache in f16, by parts of the window"),
    )
    shown = [m for m in found if m.cache == CONTROL or m.cache.k == m.cache.v] or found
    lengths = np.array([s.tokens for s in found[0].windows[0].by_position])
    middles = run.identity.settings.first_scored + np.cumsum(lengths) - lengths / 2
    ends = list[tuple[str, float, str]]()
    known = list[float]()
    for m, colour in zip(shown, cycle(COLOURS)):
        values = np.array([e.value for e in m.kl_by_position(stats.own)])
        if values.min() <= 0:  # has no place on a logarithmic axis
            continue
        dashes = "-" if m.cache.flash and m.cache.rotation else "--"
        draw_line(axes, m.cache.name, middles, values, color=colour, ls=dashes, lw=1.4)
        ends.append((m.cache.name, float(values[-1]), colour))
        known += values.tolist()
    if known:
        logarithmic(axes, "y", known)
    axes.set_xlim(right=middles[-1] + _FOR_NAMES * (middles[-1] - middles[0]))
    axes.set_xlabel("Position in the window (tokens)")
    axes.set_ylabel("Divergence (nats)")
    name_ends(axes, middles[-1], ends)
    return figure
