"""Tables of completions of the same beginnings side by side, with the first difference from the reference's, from records."""

from __future__ import annotations

import pandas as pd

from bench.core.formats import MISSING, share
from bench.measures.samples.jobs import Completion
from bench.measures.samples.runs import samples_of
from bench.measures.sections import Section, Table
from bench.records.run import Run

KEY = """\
Key
- Every file goes on from the same beginning with its likeliest token, up to {limit} tokens; ⏎ stands for a new line
- Same until: index of the first token that is not the reference's; Agreeing: share of the reference's tokens that stand at the same place"""


def first_difference(reference: tuple[int, ...], other: tuple[int, ...]) -> int | None:
    """Index of the first token that differs, or where one of them ends; None for equal ones."""
    common = next((i for i, (a, b) in enumerate(zip(reference, other, strict=False)) if a != b), None)
    if common is None and len(reference) != len(other):
        return min(len(reference), len(other))
    return common


def agreeing(reference: tuple[int, ...], other: tuple[int, ...]) -> float | None:
    """Share of the reference's tokens that the other has at the same place; None where the reference wrote nothing."""
    if not reference:
        return None
    return sum(a == b for a, b in zip(reference, other, strict=False)) / len(reference)


def samples_table(run: Run, index: int) -> pd.DataFrame:
    """Every file's completion of one prompt, the reference's first."""
    rows = []
    reference = samples_of(run)[run.reference].completions[index] if run.reference in samples_of(run) else None
    for name, record in samples_of(run).items():
        found = record.completions[index]
        same, agree = _against(reference, found) if name != run.reference else (MISSING, MISSING)
        rows.append({"Recipe": name, "Same until": same, "Agreeing": agree, "Completion": one_line(found)})
    return pd.DataFrame(rows)


def _against(reference: Completion | None, found: Completion) -> tuple[str, str]:
    if reference is None:
        return MISSING, MISSING
    until, agree = first_difference(reference.tokens, found.tokens), agreeing(reference.tokens, found.tokens)
    return "the end" if until is None else str(until), MISSING if agree is None else share(agree)


def one_line(completion: Completion) -> str:
    """A completion as it can stand in a table."""
    return (completion.text.replace("\n", "⏎") or "(nothing)") + (" ∎" if completion.ended else "")


def agreement_table(run: Run) -> pd.DataFrame:
    """Over all prompts: how long a file writes what the reference writes."""
    rows = []
    reference = samples_of(run).get(run.reference or "")
    for name, record in samples_of(run).items():
        if reference is None or name == run.reference:
            continue
        pairs = list(zip(reference.completions, record.completions, strict=True))
        until = [first_difference(a.tokens, b.tokens) for a, b in pairs]
        tokens = sum(len(a.tokens) for a, _ in pairs)
        agree = sum(x == y for a, b in pairs for x, y in zip(a.tokens, b.tokens, strict=False))
        firsts = sorted(len(a.tokens) if u is None else u for u, (a, _) in zip(until, pairs, strict=True))
        rows.append(
            {
                "Recipe": name,
                "Same to the end": f"{sum(u is None for u in until)} of {len(until)}",
                "Same until (median)": str(firsts[len(firsts) // 2]),
                "Agreeing": share(agree / tokens) if tokens else MISSING,
            }
        )
    return pd.DataFrame(rows)


def section(run: Run) -> list[Section]:
    """How far files agree over all prompts, and what each wrote after every prompt; empty for a run without samples."""
    samples = samples_of(run)
    if not samples:
        return []
    record = next(iter(samples.values()))
    made = []
    key = KEY.format(limit=record.limit) + "; ∎ stands for an end that the model wrote itself"
    if len(summary := agreement_table(run)):
        made.append(Table("samples-agreement", "Agreement with the reference", summary, key=key))
    for n, (name, prompt) in enumerate(record.prompts):
        table = Table(
            f"samples-{n}-table",
            f"Completions of {name}",
            samples_table(run, n),
            label=name,
            quote=prompt,
            text="Completion",
        )
        made.append(table)
    return [Section("Samples", "samples", tuple(made), folded=True)]
