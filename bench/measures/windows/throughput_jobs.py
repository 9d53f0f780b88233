"""Jobs for speed outside a run: requests to a worker, and its answers in raw seconds."""

from __future__ import annotations

from typing import ClassVar, Self

from bench.core.machine import Activity
from bench.core.values import Amount
from bench.engine.settings import PLAIN, Cache, LibraryInfo, Offload
from bench.execute.content import Content
from bench.execute.job import Frozen, Job
from bench.measures.windows.jobs import Gauge


class Test(Frozen):
    """What is timed: a prompt of `n_prompt` tokens, or `n_gen` tokens generated one by one; the other is 0. As llama-bench has it, either behind
    `depth` tokens that the context holds already. cache: how it holds them."""

    __test__: ClassVar[bool] = False  # no test of pytest's

    n_prompt: int = 0
    n_gen: int = 0
    depth: int = 0
    cache: Cache = PLAIN

    @property
    def label(self) -> str:
        """`pp512`, `tg128 @ d4096`, as llama-bench has them."""
        what = f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}"
        return f"{what} @ d{self.depth}" if self.depth else what

    @property
    def name(self) -> str:
        """The same with the cache, where that is another than f16."""
        return self.label if self.cache.is_plain else f"{self.label} {self.cache.name}"

    @property
    def plain(self) -> Self:
        """The same with a cache in f16."""
        return self.model_copy(update={"cache": PLAIN})

    @property
    def is_deep(self) -> bool:
        """Whether it is more than a test in an empty context, as a model is run unless told."""
        return self.depth > 0 or not self.cache.is_plain

    @property
    def n_tokens(self) -> int:
        return self.n_prompt or self.n_gen


class Sample(Frozen):
    """One timed round of one test. started: UTC, ISO 8601; seconds: of llama.cpp's own work alone; pieces: what they were cut into; joules:
    of the processors' packages meanwhile, None where no counter could be read."""

    test: Test
    started: str
    seconds: float
    activity: Activity
    pieces: tuple[float, ...]
    joules: Amount | None = None


class RoundResult(Frozen):
    """One round of one file, in a process of its own. description, n_bytes, n_weights: as llama.cpp tells them of the model;
    load_seconds: of the model; peak_memory_bytes: of the process; gauge: what counted its joules."""

    library: LibraryInfo
    description: str
    n_bytes: int
    n_weights: int
    load_seconds: float
    peak_memory_bytes: int
    samples: tuple[Sample, ...]
    gauge: Gauge | None = None


class Timed(Frozen):
    """A file that is timed. stream: a TokenStream (texts/stream.py), used again from its start where a test is longer."""

    model: Content
    stream: Content


class RoundsResult(Frozen):
    """A round of each file, in their order."""

    rounds: tuple[RoundResult, ...]


class RoundJob(Job[RoundsResult]):
    """Time every test of several files once, side by side in turn. backwards: whether turns are taken in the opposite order; offload: the device that is timed, with
    one file only, None for the CPU."""

    done_by: ClassVar[str] = "bench.measures.windows.throughput_worker:round_job"
    pinned: ClassVar[bool] = True

    files: tuple[Timed, ...]
    backwards: bool = False
    tests: tuple[Test, ...]
    threads: int
    batch: int
    ubatch: int
    offload: Offload | None = None

    def preloads(self) -> tuple[str, ...]:
        return ("bench.measures.windows.throughput_worker", "bench.measures.windows.timing")

    def model_file(self) -> Content | None:
        return self.files[0].model if len(self.files) == 1 else None
