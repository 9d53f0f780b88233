"""A figure over runs, by date, engine and commit: as a table and as a plot.

Only comparable runs are on one line: runs that differ in anything but the engine are separate, with the differences. Figures that
do not depend on the machine are also comparable between machines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench.core.errors import BenchError, nearest
from bench.core.formats import (
    MISSING,
    divergence_text,
    joules_text,
    markdown,
    percent,
    perplexity_text,
    seconds,
    share,
    size,
)
from bench.measures.windows.tables import full_frame
from bench.records.describe import windows_text
from bench.records.identity import SPEEDS
from bench.records.run import FILE_NAME, Run
from bench.statistics.estimates import Estimate
from bench.statistics.verdicts import with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing


@dataclass(frozen=True)
class Figure:
    """A column of full_frame. of_machine: whether it compares on one machine only; half: the column of its spread to each side,
    for one that has no interval."""

    title: str
    form: Callable[[float], str]
    of_machine: bool = False
    half: str | None = None


_BITS, _RATE = "{:.3f}".format, "{:.1f}".format
FIGURES = {
    "ppl": Figure("Perplexity", perplexity_text),
    "kl": Figure("Mean KL divergence (nats)", divergence_text),
    "ppl_change_vs_reference": Figure("Perplexity against the reference", percent),
    "ppl_change_vs_standard": Figure("Perplexity against Standard of the same type", percent),
    "same_top": Figure("Same top token as the reference", share),
    "p_change_rms": Figure("RMS Δp", share),
    "bytes": Figure("File size", size),
    "bits_per_weight": Figure("Bits per weight", _BITS),
    "window_seconds": Figure("Time for one window", seconds, of_machine=True, half="window_seconds_half_iqr"),
    "time_ratio_vs_standard": Figure("Time against Standard of the same type", _BITS, of_machine=True),
    "prompt_tokens_per_second": Figure("Prompt processing (tokens/s)", _RATE, of_machine=True),
    "generation_tokens_per_second": Figure("Token generation (tokens/s)", _RATE, of_machine=True),
    "joules_per_prompt_token": Figure("Energy for a prompt token (J)", joules_text, of_machine=True),
    "joules_per_generated_token": Figure("Energy for a generated token (J)", joules_text, of_machine=True),
    "load_seconds": Figure("Time to load", seconds, of_machine=True),
    "peak_memory_bytes": Figure("Peak memory", size, of_machine=True),
}


@dataclass(frozen=True)
class Point:
    """A figure of a recipe in a run, with its interval or spread, and when and with what it was measured."""

    run: str
    date: str
    library: str
    program: str
    commit: str
    recipe: str
    family: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Lineage:
    """Runs that compare, oldest first, by name. apart: what keeps them from the first lineage, empty for that one."""

    runs: tuple[tuple[str, Run], ...]
    points: tuple[Point, ...]
    apart: tuple[str, ...]


@dataclass(frozen=True)
class History:
    """lineages: the one with most runs first; without: names of runs that have no such figure."""

    figure: str
    lineages: tuple[Lineage, ...]
    without: tuple[str, ...]

    def text(self) -> str:
        """Every lineage's table as Markdown, with what keeps lineages apart."""
        parts = [part for lineage in self.lineages for part in self._parts(lineage)]
        if self.without:
            parts.append(f"Without this figure of a recipe with all its windows: {', '.join(self.without)}")
        return "\n\n".join(parts)

    def _parts(self, lineage: Lineage) -> list[str]:
        identity, n = lineage.runs[-1][1].identity, len(lineage.runs)
        about = f"## {identity.model.name}, {windows_text(lineage.runs[-1][1])}: {n} run{'s' if n > 1 else ''}"
        parts = [about]
        if lineage.apart:
            shown = "; ".join(lineage.apart[:_SHOWN])
            more = f"; and {len(lineage.apart) - _SHOWN} more" if len(lineage.apart) > _SHOWN else ""
            parts.append(f"Does not compare with {self.lineages[0].runs[-1][0]}: {shown}{more}")
        if FIGURES[self.figure].of_machine and n > 1:
            parts.append(
                "Times of different runs are not interleaved: the machine's other load is part of every change"
            )
        return [*parts, markdown(self._table(lineage))]

    def _table(self, lineage: Lineage) -> pd.DataFrame:
        of = FIGURES[self.figure]
        spread = " [median ± half the interquartile range]" if of.half else " [95 %]"
        if all(p.low is None for p in lineage.points):
            spread = ""
        rows = [
            {
                "Recipe": p.recipe,
                "Date": p.date,
                "llama-cpp-python": p.library,
                "Program": p.program,
                "Commit": p.commit or MISSING,
                of.title + spread: with_interval(Estimate(p.value, p.low, p.high), of.form),
                "Run": p.run,
            }
            for p in lineage.points
        ]
        return pd.DataFrame(rows)

    def json(self) -> list[dict[str, object]]:
        return [
            {"runs": [n for n, _ in x.runs], "apart": list(x.apart), "points": [vars(p) for p in x.points]}
            for x in self.lineages
        ]


#: Differences that are told of a lineage that stands apart; a model alone differs in several.
_SHOWN = 3


def find_runs(directory: Path) -> list[Path]:
    """Directories of all runs below a directory, by name. Raises BenchError when there is none."""
    found = sorted(path.parent for path in directory.rglob(FILE_NAME))
    if not found:
        raise BenchError(f"{directory}: has no runs in it; name the directories of some")
    return found


def history(runs: Sequence[tuple[str, Run]], figure: str, recipes: Sequence[str] = ()) -> History:
    """A figure of recipes over runs, told apart where they are not comparable.

    runs: with their names, in any order; recipes: all of them unless told. Raises BenchError for a figure or a recipe that no
    run has.
    """
    if figure not in FIGURES:
        raise BenchError(f"--figure {figure}: is none of {', '.join(FIGURES)}{nearest(figure, FIGURES)}")
    known = dict.fromkeys(name for _, run in runs for name in run.files)
    for recipe in recipes:
        if recipe not in known:
            raise BenchError(f"--recipe {recipe}: is in none of these runs{nearest(recipe, known)}")
    groups: list[list[tuple[str, Run, tuple[Point, ...]]]] = []
    without: list[str] = []
    for name, run in sorted(runs, key=lambda r: r[1].header.started):
        points = tuple(p for p in _points(name, run, figure) if not recipes or p.recipe in recipes)
        if not points:
            without.append(name)
        else:
            group = next((g for g in groups if not _differences(g[0][1], run, figure)), None)
            if group is None:
                groups.append(group := [])
            group.append((name, run, points))
    if not groups:
        raise BenchError(f"--figure {figure}: none of these runs has it, of a recipe with all its windows")
    groups.sort(key=lambda g: (len(g), g[-1][1].header.started), reverse=True)
    main = groups[0][-1][1]
    lineages = []
    for group in groups:
        order = {name: i for i, name in enumerate(dict.fromkeys(p.recipe for *_, points in group for p in points))}
        points = tuple(sorted((p for *_, found in group for p in found), key=lambda p: order[p.recipe]))
        apart = tuple(_differences(main, group[-1][1], figure))
        lineages.append(Lineage(tuple((n, r) for n, r, _ in group), points, apart))
    return History(figure, tuple(lineages), tuple(without))


def _differences(a: Run, b: Run, figure: str) -> list[str]:
    """What keeps two runs' figures from being compared, in words."""
    aside = ("library.", SPEEDS) if FIGURES[figure].of_machine else ("library.", SPEEDS, "machine.")
    return [d for d in a.identity.differences(b.identity) if not d.startswith(aside)]


def _points(name: str, run: Run, figure: str) -> list[Point]:
    frame, versions = full_frame(run), run.header.versions
    if figure not in frame:
        return []
    points = []
    for row in frame[frame[figure].notna()].to_dict("records"):
        value, low, high = row[figure], row.get(f"{figure}_low"), row.get(f"{figure}_high")
        if half := FIGURES[figure].half:
            low, high = value - row[half], value + row[half]
        points.append(
            Point(
                run=name,
                date=run.header.started[:10],
                library=run.identity.library.binding,
                program=versions.get("dynamicgate-bench", MISSING),
                commit=_short(versions.get("commit", "")),
                recipe=row["recipe"],
                family=row["family"],
                value=float(value),
                low=None if low is None or pd.isna(low) else float(low),
                high=None if high is None or pd.isna(high) else float(high),
            )
        )
    return points


def _short(commit: str) -> str:
    """`0123456789ab`, `0123456789ab-dirty`."""
    digest, dash, rest = commit.partition("-")
    return digest[:12] + dash + rest


def plot(found: History, path: Path) -> list[Path]:
    """Plot every lineage of two runs or more into PATH.png and PATH.svg, further ones into PATH-2 and so on; the PNG files.

    path: without suffix.
    """
    import matplotlib.pyplot as plt

    from bench.measures.plotting import RC, save

    written: list[Path] = []
    for lineage in (x for x in found.lineages if len(x.runs) > 1):
        target = path.with_name(f"{path.name}-{len(written) + 1}") if written else path
        with plt.rc_context(RC):
            save(_drawn(lineage, FIGURES[found.figure]), target)
        written.append(target.with_name(target.name + ".png"))
    return written


def _drawn(lineage: Lineage, of: Figure) -> Drawing:
    """A line for every recipe, in the colour of its family, its name at the end; a place for every run, whatever time lies between."""
    import matplotlib.pyplot as plt

    from bench.measures.plotting import GREY, caption, family_styles, logarithmic

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    axes.set_title(f"{of.title} over {len(lineage.runs)} runs", loc="left", fontweight="bold")
    figure.supxlabel(caption(lineage.runs[-1][1]), fontsize=8, color=GREY, x=0.01, ha="left")
    place = {name: i for i, (name, _) in enumerate(lineage.runs)}
    styles = family_styles(p.family for p in lineage.points)
    by_recipe: dict[str, list[Point]] = {}
    for p in lineage.points:
        by_recipe.setdefault(p.recipe, []).append(p)
    for points in by_recipe.values():
        style = styles[points[0].family]
        ends = [
            (
                max(p.value - p.low, 0.0),
                max(p.high - p.value, 0.0),
            )  # resampled ends of no spread may miss it by rounding
            for p in points
            if p.low is not None and p.high is not None
        ]
        axes.errorbar(
            [place[p.run] for p in points],
            [p.value for p in points],
            yerr=list(zip(*ends, strict=True)) if len(ends) == len(points) else None,
            fmt=style["marker"] + "-",
            color=style["color"],
            label=points[0].family,
            ms=5,
            capsize=3,
            lw=1.2,
        )
    named = {p.run: "\n".join(filter(None, (p.date, p.library, p.commit))) for p in lineage.points}
    axes.set_xticks(
        list(place.values()), [named[name] for name in place], fontsize=8, rotation=90 if len(place) > 8 else 0
    )
    axes.set_xlim(-0.3, len(place) - 0.5 + 0.2 * len(place))  # room for names on the right
    values = [p.value for p in lineage.points]
    if min(values) > 0 and max(values) / min(values) > 4:
        logarithmic(axes, "y", values)
    axes.set_xlabel("Date, llama-cpp-python and commit of each run")
    interval = any(p.low is not None for p in lineage.points)
    axes.set_ylabel(
        of.title
        + ("\n(median ± half the interquartile range)" if of.half else " with 95 % interval" if interval else "")
    )
    if len(styles) > 1:
        handles = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))  # one of each family
        axes.legend(handles.values(), handles.keys(), frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _label_lines(axes, {r: (place[points[-1].run], points[-1].value) for r, points in by_recipe.items()})
    return figure


#: Pixels between the labels of two lines.
_APART = 13


def _label_lines(axes: Axes, ends: dict[str, tuple[float, float]]) -> None:
    """A recipe's name at the right end of each line, moved up where names would hide each other."""
    from bench.measures.plotting import GREY

    axes.figure.draw_without_rendering()  # type: ignore[union-attr]  # places are pixels, which the layout decides
    points = axes.transData.transform(list(ends.values()))
    taken = float("-inf")
    for (recipe, end), (_, y) in sorted(zip(ends.items(), points, strict=True), key=lambda item: item[1][1]):
        taken = max(float(y), taken + _APART)
        shift = (taken - float(y)) * 72 / axes.figure.dpi
        axes.annotate(recipe, end, textcoords="offset points", xytext=(8, shift), va="center", fontsize=8, color=GREY)
