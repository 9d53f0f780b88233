"""The plot of speeds over depth that `time --plot` draws."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.core.errors import BenchError
from bench.core.files import told_apart
from bench.measures.plotting import COLOURS, RC, check_plot_name, describe_figure, legend_above, new_figure, save
from bench.measures.windows.throughput import Timings
from bench.measures.windows.throughput_jobs import Test
from bench.statistics.estimates import Estimate
from bench.statistics.layout import MIN_FOR_INTERVAL
from bench.statistics.undisturbed import undisturbed

#: Of caches.
_MARKS = "osD^vP"
#: Names of so many characters have a line of the legend each.
_LONG = 36


def check_plot(path: Path, tests: Sequence[Test]) -> None:
    """Raise BenchError, before anything is timed, for a plot that cannot be."""
    check_plot_name(path)
    if len({t.depth for t in tests}) < 2:
        raise BenchError("--plot shows speed over depth; give --depths at least two, for instance 0,2048,8192")


def plot_depths(timed: Sequence[Timings], tests: Sequence[Test], path: Path) -> None:
    """Draw tokens a second over depth, a panel for each length of prompt and of generation. path: with .png or .svg, of which both are
    written."""
    labels = list(dict.fromkeys(t.model_copy(update={"depth": 0}).plain.label for t in tests))
    with plt.rc_context(RC):
        figure, panels = new_figure(1.2 + 2.6 * len(labels), len(labels))
        base = timed[0]
        enough = len(base.rounds) >= MIN_FOR_INTERVAL
        describe_figure(
            figure,
            "Speed over depth",
            f"Tokens a second of {len(base.rounds)} rounds, where nothing disturbs them{', with 95 % intervals' if enough else ''}\n"
            f"{base.machine.cpu}, {base.threads} threads, {base.rounds[0].library.isa} kernels",
        )
        for axes, label in zip(panels, labels, strict=True):
            _panel(axes, timed, [t for t in tests if t.model_copy(update={"depth": 0}).plain.label == label], label)
        longest = max(len(name) for name in panels[0].get_legend_handles_labels()[1])
        legend_above(panels[0], 1 if longest > _LONG else 2)
        panels[-1].set_xlabel("Tokens in the context")
        _save(figure, path)


def _panel(axes: Axes, timed: Sequence[Timings], tests: Sequence[Test], label: str) -> None:
    names = told_apart([t.model for t in timed])
    caches = list(dict.fromkeys(t.cache for t in tests))
    for (name, timings), colour in zip(zip(names, timed, strict=True), cycle(COLOURS)):
        for cache, mark in zip(caches, cycle(_MARKS)):
            own = [t for t in tests if t.cache == cache]
            rates = [_rate(timings, t) for t in own]
            said = f"{name}, {cache.name}" if len(caches) > 1 else name
            look: dict[str, Any] = {
                "color": colour,
                "marker": mark,
                "ms": 4.5,
                "lw": 1.2,
                "ls": "-" if cache.is_plain else "--",
            }
            errors = None
            if all(r.low is not None and r.high is not None for r in rates):
                errors = [[r.value - (r.low or 0) for r in rates], [(r.high or 0) - r.value for r in rates]]
            axes.errorbar([t.depth for t in own], [r.value for r in rates], yerr=errors, capsize=2, label=said, **look)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"{label} (tokens/s)")


def _rate(timings: Timings, test: Test) -> Estimate:
    """Tokens a second of typical rounds, disturbances left out; with an interval where there are rounds enough."""
    seconds = undisturbed(np.array(timings.seconds(test))[:, None])
    low, high = (None if x is None else test.n_tokens / x for x in (seconds.high, seconds.low))
    return Estimate(test.n_tokens / seconds.value, low, high)


def _save(figure: Figure, path: Path) -> None:
    try:
        save(figure, path.with_suffix(""))
    except OSError as e:
        raise BenchError(f"--plot {path}: cannot be written ({e.strerror})") from e
