"""Notes that a reader needs beside the figures of windows, found by the program."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from bench.core.formats import percent, share, size
from bench.measures.windows import narrow
from bench.measures.windows import statistics as stats
from bench.measures.windows.energy import energy_notes
from bench.measures.windows.floor import Floor, floors_of
from bench.measures.windows.runs import windows_of
from bench.measures.windows.tables import NO_SPEEDS
from bench.records.families import mixed_pairs
from bench.records.record import FileRecord
from bench.records.resolution import resolution
from bench.records.run import Run
from bench.statistics.estimates import Estimate
from bench.statistics.layout import MIN_FOR_INTERVAL
from bench.statistics.verdicts import AT_FLOOR, shown, with_interval

#: Half an interquartile range above this share of the median makes a timing hard to compare.
_WIDE_SPREAD = 0.05


#: A pass that took this many times the median stands out; a change of the machine's speed by this share is told.
_OUTLIER = 1.5


_DRIFT = 0.05


#: Smaller files that a line about a larger one names.
_NAMED = 2


def surprises(run: Run) -> list[str]:
    """Files that are shown to score worse than smaller ones, all pairs of files judged together: a line for each, the worst first.

    Random controls are left out, since they are made to be beaten, and files that the reference cannot judge.
    """
    beyond = resolution(run).beyond
    worse: dict[str, list[tuple[Estimate, FileRecord]]] = {}
    files = [
        f for f in run.files.values() if f.family != "Reference" and "random" not in f.family and f.recipe not in beyond
    ]
    compared = []
    for smaller, larger in combinations(sorted(files, key=lambda f: f.n_bytes), 2):
        a, b = windows_of(run).results(smaller.recipe), windows_of(run).results(larger.recipe)
        if a and b and larger.n_bytes > smaller.n_bytes:
            compared.append((stats.perplexity_change(a, b), smaller, larger))
    for (change, smaller, larger), is_shown in zip(compared, shown([c for c, _, _ in compared]), strict=True):
        if change.value > 0 and is_shown:
            worse.setdefault(larger.recipe, []).append((change, smaller))
    said = []
    for name, found in sorted(worse.items(), key=lambda item: -len(item[1])):
        found.sort(key=lambda pair: -pair[0].value)
        named = "; ".join(
            f"perplexity {with_interval(change, percent)} against {f.recipe} ({size(f.n_bytes)})"
            for change, f in found[:_NAMED]
        )
        files_text = "a smaller file" if len(found) == 1 else f"{len(found)} smaller files"
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        said.append(f"{name} ({size(run.files[name].n_bytes)}) scores worse than {files_text}: {named}{more}")
    return said


def _timings(run: Run) -> list[str]:
    if not run.identity.speeds:
        return [NO_SPEEDS]
    said = []
    for pair in mixed_pairs(run):
        if windows_of(run).results(pair.standard) and windows_of(run).results(pair.gated):
            same, _ = windows_of(run).same_sitting(pair.standard or "", pair.gated or "")
            if len(same) < run.windows:
                said.append(
                    f"{pair.standard} and {pair.gated} were measured in one sitting in {len(same)} of {run.windows} passes; "
                    "the others are left out of their time ratio"
                )
    if len(cpus := windows_of(run).cpus) > 1:
        of_each = "; ".join(f"{cpu}: {n} windows" for cpu, n in cpus.items())
        said.append(
            f"Sites have different CPUs ({of_each}); times are those of the first, a table of speeds by CPU model has those of all, and ratios compare "
            "passes of one site"
        )
    if (drift := _drift(run)) is not None and abs(drift) > _DRIFT:
        said.append(
            f"The machine became {'slower' if drift > 0 else 'faster'} by {share(abs(drift))} from the first half of the passes to the "
            "second; times of recipes are compared within passes only"
        )
    for name in run.files:
        if windows := windows_of(run).results(name):
            seconds = stats.seconds_of(stats.timed(windows))
            odd = int((seconds > _OUTLIER * np.median(seconds)).sum())
            if odd:
                said.append(
                    f"{name}: {odd} of {len(windows)} passes took more than {_OUTLIER:g} times the median; medians are not moved by them"
                )
            speed = stats.speed(windows, run.identity.settings)
            if speed.disturbed:
                said.append(
                    f"{name}: {speed.disturbed} of {len(windows)} passes were disturbed by other load on the machine"
                )
            if speed.spread.relative > _WIDE_SPREAD:
                said.append(
                    f"{name}: its times spread by {share(speed.spread.relative)} (half the interquartile range), too much for small differences"
                )
    return said


def _drift(run: Run) -> float | None:
    """How much slower the second half of the passes was than the first: the median over all files of each."""
    by_pass: dict[int, list[float]] = {}
    for name in run.files:
        if windows := windows_of(run).results(name):
            windows = stats.timed(windows)
            seconds = stats.seconds_of(windows)
            for w, relative in zip(windows, seconds / np.median(seconds), strict=True):
                by_pass.setdefault(w.window, []).append(float(relative))
    passes = [float(np.median(by_pass[w])) for w in sorted(by_pass)]
    if len(passes) < MIN_FOR_INTERVAL:
        return None
    half = len(passes) // 2
    return float(np.median(passes[-half:]) / np.median(passes[:half]) - 1)


def failures(run: Run) -> list[str]:
    said = [
        f"{name}: {len(windows)} of {run.windows} windows measured, its figures are left out"
        for name, windows in windows_of(run).by_file.items()
        if len(windows) < run.windows
    ]
    return said + [
        f"{f.recipe}: {'not built' if f.window is None else f'window {f.window} failed'}: {f.reason}"
        for f in run.failures
    ]


def _floor(run: Run) -> list[str]:
    """What computing the same otherwise did, a sentence a file, and what follows."""
    by_file: dict[str, list[str]] = {}
    for floor in floors_of(run).measured:
        record = floor.record
        threads = f"{record.threads} thread{'s' if record.threads > 1 else ''}"
        how = {
            "batches": f"{threads} and batches of {record.ubatch}",
            "attention": "no flash attention",
            "cpu": "the CPU in place of the device",
        }[record.way]
        by_file.setdefault(floor.recipe, []).append(
            f"{_moved(floor, is_reference=floor.recipe == run.reference)} with {how}"
        )
    if not by_file:
        return []
    told = "; ".join(f"{name} {' and '.join(moved)}" for name, moved in by_file.items())
    above = not all(f.is_none for f in floors_of(run).measured)
    below = f'. Differences between files that are no larger have the verdict "{AT_FLOOR}"' if above else ""
    return [f"Measurement floor, the first window computed otherwise: {told}{below}"]


def _moved(floor: Floor, *, is_reference: bool) -> str:
    if floor.is_none:
        return "is equal to the last digit"
    if is_reference and floor.kl is not None:
        return f"differs by a mean KL divergence of {floor.kl.mean():.1e}"
    apart = "" if floor.kl is None else f" and in KL divergence by {floor.of_kl:.1e}"
    return f"differs in perplexity by {100 * floor.of_ppl:.2g} %{apart}"


def notes(run: Run) -> list[str]:
    """Disturbed or spread timings, missing measurements, the floor, few windows: a sentence each."""
    said = [*narrow.notes(run), *_timings(run), *energy_notes(run), *failures(run), *_floor(run)]
    if run.windows < MIN_FOR_INTERVAL:
        said.append(
            f"A 95 % interval needs at least {MIN_FOR_INTERVAL} windows; this run has {run.windows}, so none is given"
        )
    return said
