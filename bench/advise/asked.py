"""From a request to advice: find the candidates, measure or describe the machine, and choose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.advise.advice import Advice, needs_of, on_model, on_repository, on_run
from bench.advise.by_size import on_sizes
from bench.advise.candidates import plan_guide
from bench.advise.cpu import this_cpu
from bench.advise.gpu import gpu_here
from bench.advise.situation import SIXTEEN, Gpu, Situation, Wishes, bandwidth_of, bytes_of, described_memory
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
    typed; bandwidth, threads, memory: of another machine, None for this one's; gpu_memory: of a GPU, as it was typed, None for what the engine finds."""

    repository: str | None = None
    model: str | None = None
    run: Path | None = None
    wishes: Wishes = field(default_factory=Wishes)
    memory: str | None = None
    bandwidth: str | None = None
    threads: int | None = None
    gpu_memory: str | None = None

    @property
    def describes_a_machine(self) -> bool:
        return bool(self.memory or self.bandwidth or self.threads)


def told_by(what: str | None, model: str | None, run: Path | None) -> tuple[str | None, str | None, Path | None]:
    """(repository, model, run) out of one name for any of them, or of two options; a run may be named with --model.

    Raises BenchError for what does not go together, and for a name that looks like something else.
    """
    if what is None:
        return None, model, run
    path = Path(what)
    is_run = path.name.endswith(".jsonl") or (path.is_dir() and not any(path.glob("*.safetensors")))
    if is_run and run is None:
        return None, model, path
    if model or run:
        raise BenchError(f"{what}: give either this or --model and --run, not both")
    if what.startswith("hf:"):
        return what, None, None
    if not path.exists():
        _refuse_lookalike(what)
    return None, what, None


#: An address of the hub, with or without its beginning, or the part that names a repository; the group is owner/repo.
_REPOSITORY = re.compile(r"(?:https?://[^/]+/|(?:[\w-]+\.)+[a-z]{2,3}/(?=[\w.-]+/))?([\w.-]+/[\w.-]+)(?:[/?#].*)?")
_SIZE = re.compile(r"\d+(?:\.\d+)?[BM](?:-A\d+(?:\.\d+)?B)?", re.IGNORECASE)


def _refuse_lookalike(what: str) -> None:
    """Raise BenchError with the remedy for a name that is no file and looks like a repository or a size of model."""
    if _SIZE.fullmatch(what):
        raise BenchError(
            f"{what}: no such file; for sizes of model leave the argument out: the table has a row for each"
        )
    found = _REPOSITORY.fullmatch(what)
    is_file = what.endswith((".gguf", ".safetensors")) and "://" not in what
    if found and not is_file and not what.startswith(("./", "../", "/")):
        raise BenchError(f"{what}: no such file; for a repository of the hub write hf:{found[1]}")


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
        gpu=_gpu(asked, cache),
    )


def _gpu(asked: Asked, cache: Path) -> Gpu | None:
    """The GPU that is told of, or else one of this machine, unless another machine is told of."""
    if asked.gpu_memory:
        n_bytes = bytes_of(asked.gpu_memory, "--gpu-memory")
        return Gpu("the GPU", n_bytes, n_bytes)
    return None if asked.describes_a_machine else gpu_here(cache)


def _model(
    named: str, context: int, executor: LocalExecutor, cache: Path
) -> tuple[ModelInfo, ModelShape, Buffers | None]:
    path = local_model(named, cache, Reporter()).path
    shape = shape_of(path)
    # where the rule is only approximate llama.cpp itself is asked
    buffers = executor.do(MemoryJob(model=executor.hold(path), window=context)) if shape.notes else None
    return inspect(path), shape, buffers


def _on_run(run: Run, asked: Asked, here: Situation, needs: Mapping[str, Memory]) -> Advice:
    return on_run(run, needs, here, same_machine=speeds_hold(run, asked))


def speeds_hold(run: Run, asked: Asked) -> bool:
    """Whether the run's speeds are those of the machine that is advised for: of this one, as long as no other is described."""
    return not asked.describes_a_machine and measured_here(run, this_machine(), default_threads())
