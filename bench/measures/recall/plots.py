"""The plot of recall: the gain of a repetition by distance, and what of it a file or a cache loses."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.core.formats import MISSING
from bench.measures.named_points import draw_line
from bench.measures.plotting import COLOURS, GREY, RC, caption, describe_figure, legend_above, new_figure
from bench.measures.recall.tables import recall_frame
from bench.records.run import Run

#: A plot of more lines cannot be read.
_LINES = 14
#: Share of the room between two distances that the lines of one take side by side.
_SPREAD = 0.4


def draw(run: Run) -> dict[str, Figure]:
    """A line a file and cache, where there are two distances at least; below, its difference from the reference, paired."""
    found = recall_frame(run)
    distances = sorted(found["distance"].unique()) if len(found) else []
    lines = list(found.groupby(["recipe", "k", "v"], sort=False)) if len(distances) > 1 else []
    if not 0 < len(lines) <= _LINES:
        return {}
    compared = found["gain_change_low"].notna().any()
    with plt.rc_context(RC):
        figure, panels = new_figure(6.4 if compared else 4.0, 2 if compared else 1)
        said = "What a passage gains by having stood in the context so many tokens before; 0: nothing"
        more = (
            "\nBelow: minus the reference's with a cache in f16, paired by passage, with 95 % intervals"
            if compared
            else ""
        )
        describe_figure(figure, "Recall at a distance", caption(run, said + more))
        for i, ((line, rows), colour) in enumerate(zip(lines, cycle(COLOURS))):
            name, k, v = line
            plain = k == v == "f16"
            label = name if plain else f"{name}, cache {k if k == v else f'{k}/{v}'}"
            x = np.searchsorted(distances, rows["distance"]) + _SPREAD * ((i + 0.5) / len(lines) - 0.5)
            told = f"{label}: {rows['gain'].iloc[-1]:.3f} at {rows['distance'].iloc[-1]}" if len(rows) else MISSING
            look: dict[str, Any] = {"color": colour, "ls": "-" if plain else "--", "lw": 1.3, "marker": "o", "ms": 3.5}
            draw_line(panels[0], told, x, rows["gain"].to_numpy(), label=label, **look)
            if compared and rows["gain_change"].notna().any():
                low, middle, high = (rows[c].to_numpy() for c in ("gain_change_low", "gain_change", "gain_change_high"))
                panels[1].errorbar(x, middle, yerr=[middle - low, high - middle], capsize=2.5, elinewidth=1, **look)
        panels[0].set_ylim(min(0.0, float(found["gain"].min())), 1.06 * max(float(found["gain"].max()), 1e-3))
        panels[0].set_ylabel("Gain (nats a token)")
        if compared:
            panels[1].axhline(0, color=GREY, lw=0.8)
            panels[1].set_ylabel("Δ gain (nats a token)")
        for axes in panels:
            _name_distances(axes, distances)
        panels[-1].set_xlabel("Distance (tokens)")
        legend_above(panels[0], 3)
    return {"recall": figure}


def _name_distances(axes: Axes, distances: list[int]) -> None:
    axes.set_xticks(range(len(distances)), [f"{d:,}" for d in distances])
    axes.set_xlim(-0.5, len(distances) - 0.5)
