"""The plot of recall: the gain of a repetition over distance."""

from __future__ import annotations

from itertools import cycle

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bench.core.formats import MISSING
from bench.measures.named_points import draw_line
from bench.measures.plotting import COLOURS, RC, caption, describe_figure, legend_above, new_figure
from bench.measures.recall.tables import recall_frame
from bench.records.run import Run

#: A plot of more lines cannot be read.
_LINES = 14


def draw(run: Run) -> dict[str, Figure]:
    """A line a file and cache, where there are two distances at least."""
    found = recall_frame(run)
    if found["distance"].nunique() < 2:
        return {}
    lines = list(found.groupby(["recipe", "k", "v"], sort=False))
    if len(lines) > _LINES:
        return {}
    with plt.rc_context(RC):
        figure, [axes] = new_figure()
        said = caption(run, "What a passage gains by having stood in the context so many tokens before; 0: nothing")
        describe_figure(figure, "Recall at a distance", said)
        for (line, rows), colour in zip(lines, cycle(COLOURS)):
            name, k, v = line
            label = name if k == v == "f16" else f"{name}, cache {k if k == v else f'{k}/{v}'}"
            dashes = "-" if k == v == "f16" else "--"
            told = f"{label}: {rows['gain'].iloc[-1]:.3f} at {rows['distance'].iloc[-1]}" if len(rows) else MISSING
            draw_line(axes, told, rows["distance"].to_numpy(), rows["gain"].to_numpy(), color=colour, ls=dashes, lw=1.3, marker="o", ms=3.5, label=label)  # fmt: skip
        axes.set_ylim(bottom=min(0.0, float(found["gain"].min())))
        axes.set_xlabel("Distance (tokens)")
        axes.set_ylabel("Gain (nats a token)")
        legend_above(axes, 3)
    return {"recall": figure}
