"""Notes that a reader needs beside the figures, found by the program."""

from __future__ import annotations

from collections.abc import Sequence

import gguf

from bench.gguf_files.info import type_bits
from bench.measures.registry import all_measures
from bench.present.importance import thin_words
from bench.records.record import FileRecord
from bench.records.resolution import resolution
from bench.records.run import Run
from bench.records.store import damage

#: Bits per weight this far above what a format's main type has are worth a note.
_FAR_FROM_NAME = 0.25


def notes(run: Run) -> list[str]:
    """What the reference cannot tell, replaced types, choices, and what every measure has to say of its figures: a sentence each."""
    lost = (
        f"Of the record file {damage(run.damaged)}: what was measured there counts for nothing" if run.damaged else ""
    )
    return [
        *filter(None, [lost, resolution(run).sentence]),
        *_files(run),
        *_importance(run),
        *_choices(run),
        *_budgets(run),
        *(n for m in all_measures() for n in m.notes(run)),
    ]


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


def _importance(run: Run) -> list[str]:
    """Experts and tensors that the calibration text did not reach, or hardly."""
    found = run.importance
    if found is None or not found.thin:
        return []
    thin = thin_words(found.thin)
    experts = f" ({found.seen:,} of {found.experts:,} matrices of experts saw data)" if found.experts else ""
    return [
        f"Importance matrix: {100 * found.rows:.4g} % of the rows of the layers' weights saw data{experts}. {thin}. A longer calibration text "
        "reaches more of them, and --prior-weight steadies the means of few rows"
    ]


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


def _budgets(run: Run) -> list[str]:
    """What files have of each class of tensors that has a budget."""
    said = []
    for name, file in run.files.items():
        if file.choice and file.choice.budgets:
            taken = file.choice.class_bytes
            *first, last = (f"{c} {taken.get(c, 0):,} of {n:,} bytes" for c, n in file.choice.budgets.items())
            said.append(f"{name}: of its budgets it takes {', '.join(first)} and {last}")
    return said


def _range(values: Sequence[float], form: str) -> str:
    low, high = (format(pick(values), form) for pick in (min, max))
    return low if low == high else f"{low} to {high}"


def _nominal_bits(file: FileRecord) -> float | None:
    """Bits per weight of the type that a format is named after; None for a reference and formats named otherwise."""
    if file.family == "Reference":
        return None
    for name in (file.base, file.base.rpartition("_")[0]):  # Q4_K_M is named after Q4_K
        if name in gguf.GGMLQuantizationType.__members__:
            return type_bits(name)
    return None
