"""A GPU beside the CPU: how much of a file it holds, and the best file that it holds whole.

llama.cpp computes layers where they lie, so a file that a GPU holds whole generates at the GPU's speed. Which speed that is nothing here knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.advise.candidates import Candidate
from bench.advise.choice import Pick, by_guide
from bench.advise.measured import Measured, by_run
from bench.advise.situation import Gpu, Situation
from bench.core.errors import BenchError
from bench.core.formats import MISSING, size
from bench.engine.jobs import DevicesJob
from bench.engine.memory import memory_needed
from bench.execute.local import LocalExecutor
from bench.records.run import Run


@dataclass(frozen=True)
class OnGpu:
    """What a GPU holds. whole: the best file that it holds whole, None where it holds none; shares: of each candidate, by name."""

    gpu: Gpu
    whole: Pick | None
    shares: dict[str, float]

    def column(self) -> list[str]:
        """The shares as tables show them."""
        return [_text(share) for share in self.shares.values()]

    def key(self) -> str:
        return f"GPU: how much of the file {self.gpu.name} holds ({size(self.gpu.room)} of its memory can be used); the CPU has the rest"

    def lead(self, taken: str) -> str:
        """What the GPU means for the file that is taken, a sentence."""
        share = self.shares.get(taken, 0.0)
        if share == 1:
            return f"{self.gpu.name} holds all of it, so llama.cpp can generate at that GPU's speed."
        holds = f"{self.gpu.name} holds {_text(share)} of it." if share else f"{self.gpu.name} has no room for it."
        if self.whole is None:
            return f"{holds} It holds no file whole."
        return f"{holds} The best file that it holds whole is {self.whole.name} ({size(self.whole.n_bytes)})."

    def json(self) -> dict[str, object]:
        found = self.gpu
        return {"name": found.name, "free": found.free, "total": found.total, "whole": self.whole and self.whole.name}


def gpu_here(cache: Path) -> Gpu | None:
    """The GPU with most free memory of those that the engine finds, one of its own memory before one that shares the CPU's; None where it finds none."""
    try:
        found = LocalExecutor(cache).do(DevicesJob()).devices
    except BenchError:  # a driver that fails: `doctor` says so, and the CPU is advised for all the same
        return None
    best = max(found, key=lambda d: (d.kind == "gpu", d.free), default=None)
    return None if best is None else Gpu(best.name, best.free, best.total)


def held(n_bytes: int, needed: int, gpu: Gpu) -> float:
    """Share of a file's bytes that a GPU holds beside the KV cache and buffers. needed: bytes of all that together."""
    return min(max(gpu.room - (needed - n_bytes), 0) / n_bytes, 1.0) if n_bytes else 0.0


def of_candidates(rows: Sequence[Candidate], here: Situation) -> OnGpu | None:
    """For formats or files of unmeasured quality; None without a GPU. Of what it holds whole the best is taken, since speeds of the CPU say nothing there."""
    if here.gpu is None:
        return None
    shares = {c.name: held(c.n_bytes, c.memory.needed, here.gpu) for c in rows}
    whole = [replace(c, fit="fits", speed=None) for c in rows if shares[c.name] == 1]
    return OnGpu(here.gpu, by_guide(whole, _there(here)).take if whole else None, shares)


def of_run(run: Run, files: Sequence[Measured], here: Situation) -> OnGpu | None:
    """The same for files of a run, by what it measured."""
    if here.gpu is None:
        return None
    reference = run.files.get(run.reference or "")
    shape = reference.shape if reference else None

    def needed(m: Measured) -> int:
        # the peak of measuring has second copies of weights, which a GPU has not
        return memory_needed(shape, m.n_bytes, window=here.wishes.context).needed if shape else m.memory

    shares = {m.recipe: held(m.n_bytes, needed(m), here.gpu) for m in files}
    whole = [replace(m, fit="fits", speed=None) for m in files if shares[m.recipe] == 1]
    return OnGpu(here.gpu, by_run(run, whole, _there(here)).take if whole else None, shares)


def _there(here: Situation) -> Situation:
    return replace(here, wishes=replace(here.wishes, prefer="quality"))


def _text(share: float) -> str:
    if share == 1:
        return "all"
    return f"{int(100 * share)} %" if share else MISSING
