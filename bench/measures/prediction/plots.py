"""The plot of text against tasks: a point a file."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from bench.measures.plotting import (
    GREY,
    RC,
    caption,
    describe_figure,
    label_points,
    legend_above,
    logarithmic,
    new_figure,
    points,
)
from bench.measures.prediction.statistics import ANSWERS, MARGIN, Lost, lost, on_text
from bench.records.run import Run

#: Standard errors to either end of a 95 % interval.
_REACH = 1.96


def draw(run: Run) -> dict[str, Figure]:
    """What each file lost in tasks over its divergence on the text."""
    both = [(what, found) for what in (ANSWERS, MARGIN) if (found := lost(run, what)) is not None]
    if not both:
        return {}
    with plt.rc_context(RC):
        figure, panels = new_figure(4.2 * len(both), len(both))
        said = "Each point is a file against the reference, with 95 % intervals over questions; right and up is worse"
        describe_figure(figure, "Does the distance on text predict what is lost in tasks?", caption(run, said))
        for axes, (what, losses) in zip(panels, both, strict=True):
            frame = _frame(run, losses)
            logarithmic(axes, "x", [0.8 * frame["x"].min(), *frame["x"], 1.2 * frame["x"].max()])  # room for names
            points(axes, frame, "y")
            label_points(axes, frame, "y")
            axes.axhline(0, color=GREY, lw=0.8)
            axes.set_ylabel("Answers lost (share)" if what == ANSWERS else "Margin lost (nats)")
        legend_above(panels[0])
        panels[-1].set_xlabel("KL divergence from the reference on the text (nats)")
    return {"text-and-tasks": figure}


def _frame(run: Run, losses: Lost) -> pd.DataFrame:
    kl = next(t for t in on_text(run, losses.names) if t.title == "KL divergence").values.mean(axis=1)
    rows = []
    for n, name in enumerate(losses.names):
        value = float(losses.means()[n])
        # of a mean over tasks of means over questions, which are many: the normal distribution does
        errors = [t[n].std(ddof=1) ** 2 / len(t[n]) for t in losses.by_task]
        reach = _REACH * math.sqrt(sum(errors)) / len(errors)
        rows.append(
            {
                "recipe": name,
                "family": run.files[name].family,
                "bytes": run.files[name].n_bytes,
                "x": float(kl[n]),
                "y": value,
                "y_low": value - reach,
                "y_high": value + reach,
            }
        )
    return pd.DataFrame(rows)
