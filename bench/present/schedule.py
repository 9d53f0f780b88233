"""How a run's time shrinks with the number of sites: its stages as the cluster divides them, with forecast durations.

What one place does stays as long as it is; units of a stage go to whichever site is free. So the figures say what bounds a run, and
not how fast a certain machine is: durations are the forecast's (sweep/forecast.py), for sites that are all alike.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from bench.cluster.probes import AT_ONCE
from bench.core.formats import markdown, rough_duration
from bench.measures.plotting import RC, describe_figure, new_figure, save
from bench.quantize.imatrix import CHUNK_TOKENS
from bench.quantize.sums import parts_of
from bench.recipes.recipe import find_recipes
from bench.sweep.forecast import (
    BUILDING,
    CALIBRATION_TOKENS,
    CHOICES,
    IMPORTANCE,
    SCORING,
    SENSITIVITIES,
    Shape,
    forecast,
)
from bench.workbench.options import Options

SITES = (1, 2, 4, 8, 16, 32, 64)
#: Threads of a site.
THREADS = 16
#: Bytes in 16 bits of models that people quantize.
MODELS = {"8B": 16.1e9, "70B": 141e9}
#: Windows of a run: as many as it has unless told, and as many as `--until` adds at most.
WINDOWS = (8, 64)


@dataclass(frozen=True)
class Stage:
    """units: seconds of each; None for what is done at one place, which takes `alone` seconds."""

    name: str
    alone: float = 0.0
    units: tuple[float, ...] = ()

    def seconds(self, sites: int) -> float:
        return self.alone + makespan(self.units, sites)


def makespan(units: Sequence[float], sites: int) -> float:
    """Seconds until all units are done, each by the first site that is free, in their order."""
    free = [0.0] * sites
    for unit in units:
        heapq.heappush(free, heapq.heappop(free) + unit)
    return max(free)


def stages(n_bytes: float, windows: int) -> list[Stage]:
    """Of a run of the standard recipes, whose sites have a cache each: so each builds every file itself, all of them at the same time."""
    options = Options(windows=windows, model="model.gguf")
    found = forecast(options, find_recipes(None), THREADS, Shape.of_size(round(n_bytes)), compared=0).stages
    seconds = {name: e.seconds or 0.0 for name, e in found.items()}
    parts, chosen = parts_of(CALIBRATION_TOKENS // CHUNK_TOKENS), found[CHOICES].steps or 1
    probes = math.ceil((found[SENSITIVITIES].steps or 1) / AT_ONCE)
    return [
        Stage(IMPORTANCE, units=(seconds[IMPORTANCE] / parts,) * parts),
        Stage(SENSITIVITIES, units=(seconds[SENSITIVITIES] / probes,) * probes),
        Stage(CHOICES, units=(seconds[CHOICES] / chosen,) * chosen),
        Stage(BUILDING, seconds[BUILDING]),
        Stage(SCORING, units=(seconds[SCORING] / windows,) * windows),
    ]


def table() -> str:
    """Time and efficiency by number of sites, and the stage that bounds the last of them, as Markdown."""
    rows = []
    for model, n_bytes in MODELS.items():
        for windows in WINDOWS:
            found = stages(n_bytes, windows)
            alone = sum(s.seconds(1) for s in found)
            row = {"Model": model, "Windows": str(windows), "One machine": rough_duration(alone)}
            for n in SITES[1:]:
                total = sum(s.seconds(n) for s in found)
                row[f"{n} sites"] = f"{rough_duration(total)} ({alone / n / total:.0%})"
            longest = max(found, key=lambda s: s.seconds(SITES[-1]))
            row["Bound by"] = longest.name.lower()
            rows.append(row)
    return markdown(pd.DataFrame(rows))


def draw(path: Path) -> None:
    """The share of time that sites work, over their number. path: without suffix."""
    with plt.rc_context(RC):
        figure, [axes] = new_figure(3.6)
        for (model, n_bytes), color in zip(MODELS.items(), ("#0072B2", "#D55E00"), strict=True):
            for windows, dashes in zip(WINDOWS, ("--", "-"), strict=True):
                found = stages(n_bytes, windows)
                totals = [sum(s.seconds(n) for s in found) for n in SITES]
                speedups = [totals[0] / total for total in totals]
                axes.plot(
                    SITES, speedups, color=color, ls=dashes, marker="o", ms=3.5, label=f"{model}, {windows} windows"
                )
        axes.plot(SITES, SITES, color="#aaaaaa", lw=1, label="as many times as sites")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(SITES, [str(n) for n in SITES])
        axes.set_yticks(SITES, [str(n) for n in SITES])
        axes.minorticks_off()
        axes.set_xlabel("Sites")
        axes.set_ylabel("Times as fast as one machine")
        axes.legend(frameon=False, fontsize=8)
        said = (
            f"Simulated from forecast durations; sites with {THREADS} threads and a cache each, 11 files, types chosen"
        )
        describe_figure(figure, "What a cluster buys", said)
        save(figure, path)
