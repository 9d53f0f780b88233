"""One file of a run for each amount of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.advise.measured import beaten_by, estimate, nearest, worse
from bench.advise.situation import described_memory, fit
from bench.engine.memory import memory_needed
from bench.measures.windows.tables import full_frame
from bench.records.resolution import resolution
from bench.records.run import Run
from bench.statistics.estimates import Estimate

#: Amounts of memory that machines have, in units of 10^9 bytes.
_AMOUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True)
class Sized:
    """A file of a run. memory: that it needs in use (memory_is_estimate), or else the peak of its measurement, bytes; kl,
    ppl_change: against the reference, where it was compared."""

    recipe: str
    n_bytes: int
    memory: int
    memory_is_estimate: bool
    kl: Estimate | None
    ppl_change: Estimate | None


@dataclass(frozen=True)
class ForMemory:
    """What to take of a run on a machine with so much memory or more, in bytes. needs: memory of the file in use, bytes."""

    memory: int
    file: Sized
    needs: int


def files_with_memory(run: Run, context: int) -> tuple[Sized, ...]:
    """The run's files that were compared with a reference, with the memory of their use at a context (tokens) where the record
    tells what it depends on. Random controls are left out: they are made to be beaten."""
    reference = run.files.get(run.reference or "")
    shape = reference.shape if reference else None
    found = []
    for row in full_frame(run).to_dict("records"):
        name, n_bytes = str(row["recipe"]), int(row["bytes"])
        kl, change = estimate(row, "kl"), estimate(row, "ppl_change_vs_reference")
        if "random" in str(row["family"]) or pd.isna(row.get("peak_memory_bytes")) or not (kl or change):
            continue
        needed = memory_needed(shape, n_bytes, window=context).needed if shape else int(row["peak_memory_bytes"])
        found.append(Sized(name, n_bytes, needed, shape is not None, kl, change))
    return tuple(found)


def best_by_memory(run: Run, files: Sequence[Sized]) -> tuple[ForMemory, ...]:
    """The best of `files` for each amount of memory from which on it is, least memory first.

    A file fits as advice for a machine of that memory says. Files that the reference cannot judge are left out. Of files between
    which no difference is shown it is the smallest.
    """
    beyond = resolution(run).beyond
    judged = [f for f in files if f.recipe not in beyond]
    found: list[ForMemory] = []
    for amount in (a * 10**9 for a in _AMOUNTS):
        fitting = [f for f in judged if fit(f.memory, described_memory(amount)) == "fits"]
        if fitting and (best := _best(run, fitting)) not in [m.file for m in found]:
            found.append(ForMemory(amount, best, best.memory))
    return tuple(found)


def worth_their_size(run: Run, files: Sequence[Sized]) -> list[str]:
    """Recipes of the files that are not shown to be further from the reference than a file of at most their size."""
    names = [f.recipe for f in files]
    return [n for n in names if beaten_by(run, n, names) is None]


def _best(run: Run, files: Sequence[Sized]) -> Sized:
    """The one nearest to the reference, or the smallest that is not shown to be further from it."""
    best = nearest(run, [f.recipe for f in files])
    return min((f for f in files if f.recipe == best or not worse(run, best, f.recipe)), key=lambda f: f.n_bytes)
