"""What a reader must know beside the figures, found by the program rather than left to the reader."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import gguf
import numpy as np

from bench.measures.windows import statistics as stats
from bench.measures.windows.tables import floor_kl, mixed_pairs, percent, share, size, with_interval
from bench.records.run import FileRecord, Run

#: Bits per weight this far above what a format's main type has are worth a note.
_FAR_FROM_NAME = 0.25

#: Half an interquartile range above this share of the median makes a timing hard to compare.
_WIDE_SPREAD = 0.05

#: A pass that took this many times the median stands out; a change of the machine's speed by this share is told.
_OUTLIER = 1.5
_DRIFT = 0.05


def notes(run: Run) -> list[str]:
    """Replaced types, disturbed or spread timings, missing measurements, few windows: a sentence each."""
    said = [*_files(run), *_choices(run), *_timings(run), *_failures(run), *_floor(run)]
    if run.identity.windows < stats.MIN_FOR_INTERVAL:
        said.append(
            f"A 95 % interval needs at least {stats.MIN_FOR_INTERVAL} windows; this run has {run.identity.windows}, so none is given"
        )
    return said


def _files(run: Run) -> list[str]:
    said = []
    for name, file in run.files.items():
        if file.replaced:
            tensor, (asked, stored) = next(iter(file.replaced.items()))
            said.append(
                f"{name}: llama.cpp replaced the type of {len(file.replaced)} tensors ({tensor}: {asked} became {stored}), "
                "their width is no multiple of the type's block"
            )
    said += [f"{name}: {file.perplexity_only}" for name, file in run.files.items() if file.perplexity_only]
    far = [
        (f.recipe, f.bits_per_weight, n)
        for f in run.files.values()
        if (n := _nominal_bits(f)) and f.bits_per_weight / n - 1 > _FAR_FROM_NAME
    ]
    if far:
        listed = ", ".join(f"{recipe} {bits:.2f} (its main type has {nominal:.2f})" for recipe, bits, nominal in far)
        said.append(f"Bits per weight far from what the name says: {listed}")
    return said


def _choices(run: Run) -> list[str]:
    """How far the solver was from its optimum, and the predictions from what was measured."""
    chosen = [f.choice for f in run.files.values() if f.choice and f.choice.calibration_kl]
    if not chosen:
        return []
    gap = max(c.gap or 0.0 for c in chosen)
    ratios = [(c.predicted_kl or 0.0) / c.calibration_kl for c in chosen if c.calibration_kl]
    return [
        f"{len(chosen)} file{'s' if len(chosen) > 1 else ''} with chosen types: each choice is within {100 * gap:.2g} % of the optimum of its "
        f"prediction; the predicted divergence is {_range(ratios, '.2g')} times what the calibration text then showed, on which "
        f"the best of {_range([c.tried for c in chosen], 'd')} assignments was taken"
    ]


def _range(values: Sequence[float], form: str) -> str:
    low, high = (format(pick(values), form) for pick in (min, max))
    return low if low == high else f"{low} to {high}"


def _nominal_bits(file: FileRecord) -> float | None:
    """Bits per weight of the type that a format is named after; None for a reference and formats named otherwise."""
    if file.family == "Reference":
        return None
    for name in (file.base, file.base.rpartition("_")[0]):  # Q4_K_M is named after Q4_K
        if name in gguf.GGMLQuantizationType.__members__:
            block, n_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
            return 8 * n_bytes / block
    return None


#: Smaller files that a line about a larger one names.
_NAMED = 2


def surprises(run: Run) -> list[str]:
    """Files that score worse than smaller ones, by more than their paired uncertainty: a line for each, the worst first.

    Random controls are left out: they are made to be beaten.
    """
    worse: dict[str, list[tuple[stats.Estimate, FileRecord]]] = {}
    files = [f for f in run.files.values() if f.family != "Reference" and "random" not in f.family]
    for smaller, larger in combinations(sorted(files, key=lambda f: f.n_bytes), 2):
        a, b = run.results(smaller.recipe), run.results(larger.recipe)
        if a and b and larger.n_bytes > smaller.n_bytes:
            change = stats.perplexity_change(a, b)
            if change.value > 0 and change.excludes(0):
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
    said = []
    for pair in mixed_pairs(run):
        if run.results(pair.standard) and run.results(pair.gated):
            same, _ = run.same_sitting(pair.standard or "", pair.gated or "")
            if len(same) < run.identity.windows:
                said.append(
                    f"{pair.standard} and {pair.gated} were measured in one sitting in {len(same)} of {run.identity.windows} passes; "
                    "the others are left out of their time ratio"
                )
    if (drift := _drift(run)) is not None and abs(drift) > _DRIFT:
        said.append(
            f"The machine became {'slower' if drift > 0 else 'faster'} by {share(abs(drift))} from the first half of the passes to the "
            "second; times of recipes are compared within passes only"
        )
    for name in run.files:
        if windows := run.results(name):
            seconds = np.array([w.seconds for w in windows])
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
            if speed.seconds.relative > _WIDE_SPREAD:
                said.append(
                    f"{name}: its times spread by {share(speed.seconds.relative)} (half the interquartile range), too much for small differences"
                )
    return said


def _drift(run: Run) -> float | None:
    """How much slower the second half of the passes was than the first: the median over all files of each."""
    by_pass: dict[int, list[float]] = {}
    for name in run.files:
        if windows := run.results(name):
            median = float(np.median([w.seconds for w in windows]))
            for w in windows:
                by_pass.setdefault(w.window, []).append(w.seconds / median)
    passes = [float(np.median(by_pass[w])) for w in sorted(by_pass)]
    if len(passes) < stats.MIN_FOR_INTERVAL:
        return None
    half = len(passes) // 2
    return float(np.median(passes[-half:]) / np.median(passes[:half]) - 1)


def _failures(run: Run) -> list[str]:
    said = [
        f"{name}: {len(windows)} of {run.identity.windows} windows measured, its figures are left out"
        for name, windows in run.windows.items()
        if len(windows) < run.identity.windows
    ]
    return said + [
        f"{f.recipe}: {'not built' if f.window is None else f'window {f.window} failed'}: {f.reason}"
        for f in run.failures
    ]


def _floor(run: Run) -> list[str]:
    kl = floor_kl(run)
    if kl is None or run.floor is None:
        return []
    return [
        f"Measurement floor: the reference against itself with {run.floor.threads} thread{'s' if run.floor.threads > 1 else ''} and batches of {run.floor.ubatch} differs by a "
        f"mean KL divergence of {kl:.1e} over one window; nothing below that is a recipe's doing"
    ]
