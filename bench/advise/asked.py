"""From what is asked to advice: what is chosen among is found, the machine is measured or described, and advice is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.advise.advice import Advice, needs_of, on_model, on_repository, on_run, on_sizes
from bench.advise.candidates import plan_guide
from bench.advise.cpu import this_cpu
from bench.advise.situation import SIXTEEN, Situation, Wishes, bandwidth_of, bytes_of, described_memory
from bench.advise.speed import described_limits, limits_here, measured_here
from bench.core.errors import BenchError
from bench.core.machine import default_threads, this_machine
from bench.core.progress import Reporter
from bench.engine.jobs import Buffers, LibraryJob, MemoryJob
from bench.engine.memory import Memory, ModelShape, machine_memory, shape_of
from bench.execute.local import LocalExecutor
from bench.gguf_files.info import ModelInfo, inspect
from bench.measures.registry import load_run
from bench.models.listed import listed
from bench.models.sources import local_model
from bench.records.run import Run


@dataclass(frozen=True)
class Asked:
    """At most one of repository (hf:owner/repo) and the others; run and model may go together. memory, bandwidth: as they were
    typed; bandwidth, threads, memory: of another machine, None for this one's."""

    repository: str | None = None
    model: str | None = None
    run: Path | None = None
    wishes: Wishes = field(default_factory=Wishes)
    memory: str | None = None
    bandwidth: str | None = None
    threads: int | None = None

    @property
    def describes_a_machine(self) -> bool:
        return bool(self.memory or self.bandwidth or self.threads)


def told_by(what: str | None, model: str | None, run: Path | None) -> tuple[str | None, str | None, Path | None]:
    """(repository, model, run) out of one name for any of them, or of two options. Raises BenchError for both."""
    if what is None:
        return None, model, run
    if model or run:
        raise BenchError(f"{what}: give either this or --model and --run, not both")
    if what.startswith("hf:"):
        return what, None, None
    path = Path(what)
    is_run = path.name.endswith(".jsonl") or (path.is_dir() and not any(path.glob("*.safetensors")))
    return (None, None, path) if is_run else (None, what, None)


def advice_for(asked: Asked, cache: Path) -> Advice:
    """Raises BenchError for what is asked and does not exist, cannot be reached or does not go together."""
    run = load_run(asked.run) if asked.run else None
    files = listed(asked.repository) if asked.repository else None
    here = _situation(asked, cache)
    if files:
        return on_repository(files, here)
    executor = LocalExecutor(cache)
    if run and asked.model:
        info, shape, buffers = _model(asked.model, asked.wishes.context, executor, cache)
        return _on_run(run, asked, here, needs_of(run, info, shape, buffers, here))
    if run:
        return _on_run(run, asked, here, {})
    if asked.model:
        info, shape, buffers = _model(asked.model, asked.wishes.context, executor, cache)
        stored = next(iter(info.weights_by_type), "")
        here = replace(here, stored=stored if stored in SIXTEEN else None)
        return on_model(info, shape, plan_guide(executor.hold(info.path), executor), buffers, here)
    return on_sizes(here)


def _situation(asked: Asked, cache: Path) -> Situation:
    total = bytes_of(asked.memory, "--memory") if asked.memory else None
    bandwidth = bandwidth_of(asked.bandwidth) if asked.bandwidth else None
    library = LocalExecutor(cache).do(LibraryJob())
    limits = limits_here(cache, library)
    if asked.describes_a_machine:
        limits = described_limits(limits, bandwidth, asked.threads)
    return Situation(
        cpu=this_cpu(),
        features=library.features,
        machine=machine_memory() if total is None else described_memory(total),
        limits=limits,
        wishes=asked.wishes,
        described=asked.describes_a_machine,
        memory_described=total is not None,
    )


def _model(
    named: str, context: int, executor: LocalExecutor, cache: Path
) -> tuple[ModelInfo, ModelShape, Buffers | None]:
    path = local_model(named, cache, Reporter()).path
    shape = shape_of(path)
    # where the rule is only approximate llama.cpp itself is asked
    buffers = executor.do(MemoryJob(model=executor.hold(path), window=context)) if shape.notes else None
    return inspect(path), shape, buffers


def _on_run(run: Run, asked: Asked, here: Situation, needs: Mapping[str, Memory]) -> Advice:
    """Speeds count that were measured on this machine, as long as no other processor is described."""
    other = asked.bandwidth is not None or asked.threads is not None
    same = not other and measured_here(run, this_machine(), default_threads())
    return on_run(run, needs, here, same_machine=same)
