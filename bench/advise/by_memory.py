"""One file of a run for each amount of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.advise.fitting import usable
from bench.advise.front import Measured, measured_files
from bench.engine.memory import Memory, memory_needed
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import kl_change
from bench.measures.windows.runs import windows_of
from bench.records.resolution import resolution
from bench.records.run import Run

#: Amounts of memory that machines have, in units of 10^9 bytes.
_AMOUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True)
class ForMemory:
    """What to take of a run from an amount of memory on, in bytes. needs: memory of the file in use, bytes."""

    memory: int
    file: Measured
    needs: int


def files_with_memory(run: Run, context: int) -> tuple[Measured, ...]:
    """The run's files, with the memory of their use at a context (tokens) where the record tells what it depends on."""
    needs: dict[str, Memory] = {}
    reference = run.files.get(run.reference or "")
    if reference is not None and reference.shape is not None:
        for name, file in run.files.items():
            needs[name] = memory_needed(reference.shape, file.n_bytes, window=context)
    return measured_files(run, needs, lambda _: "fits")


def best_by_memory(run: Run, files: Sequence[Measured]) -> tuple[ForMemory, ...]:
    """The best of `files` for each amount of memory from which on it is, least memory first.

    Files that the reference cannot judge are left out. Of files between which no difference is shown it is the smallest.
    """
    beyond = resolution(run).beyond
    judged = [f for f in files if f.memory is not None and f.recipe not in beyond and (f.kl or f.ppl_change)]
    found: list[ForMemory] = []
    for amount in (a * 10**9 for a in _AMOUNTS):
        fitting = [f for f in judged if f.memory is not None and f.memory <= usable(amount)]
        if fitting and (best := _best(run, fitting)) not in [m.file for m in found]:
            found.append(ForMemory(amount, best, best.memory or 0))
    return tuple(found)


def _best(run: Run, files: Sequence[Measured]) -> Measured:
    """The one nearest to the reference, or the smallest that is not shown to be further from it."""
    nearest = min(files, key=_distance)
    alike = [f for f in files if f.n_bytes < nearest.n_bytes and not _is_worse(run, f, nearest)]
    return min(alike, key=lambda f: f.n_bytes, default=nearest)


def _distance(file: Measured) -> float:
    estimate = file.kl or file.ppl_change
    return estimate.value if estimate else float("inf")


def _is_worse(run: Run, file: Measured, than: Measured) -> bool:
    """Whether a file is shown to be further from the reference; without an interval its value decides."""
    a, b = windows_of(run).results(than.recipe) or [], windows_of(run).results(file.recipe) or []
    change = kl_change(a, b) or stats.perplexity_change(a, b)
    return change.value > 0 and change.excludes(0) is not False
