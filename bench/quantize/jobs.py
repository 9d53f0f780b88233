"""Jobs for making files: requests to a worker, and its answers."""

from __future__ import annotations

from typing import ClassVar

from bench.engine.settings import Offload
from bench.execute.content import Content
from bench.execute.job import Frozen, Job
from bench.recipes.recipe import Recipe


class ImportanceResult(Frozen):
    chunks: int
    seconds: float


class ImportanceJob(Job[ImportanceResult]):
    """Collect an importance matrix over a token stream. chunks: how many at most, 0 for all; offload: the device that computes, None for the CPU."""

    done_by: ClassVar[str] = "bench.quantize.collect:importance"
    pinned: ClassVar[bool] = True

    model: Content
    stream: Content
    dataset: str
    chunks: int
    threads: int
    out: Content
    offload: Offload | None = None


class ImportancePartJob(Job[ImportanceResult]):
    """Sum one part of a token stream's first chunks (sums.py). chunks: of all parts together; offload: as in ImportanceJob."""

    done_by: ClassVar[str] = "bench.quantize.collect:importance_part"
    pinned: ClassVar[bool] = True

    model: Content
    stream: Content
    part: int
    chunks: int
    threads: int
    out: Content
    offload: Offload | None = None


class QuantizeResult(Frozen):
    """types: the type of every tensor of the file; replaced: {tensor: (asked, stored)}.

    damaged: tensors whose blocks in the cache were damaged and were made anew.
    """

    types: dict[str, str]
    replaced: dict[str, tuple[str, str]]
    damaged: tuple[str, ...] = ()
    seconds: float
    peak_memory_bytes: int


class QuantizeJob(Job[QuantizeResult]):
    """Build a recipe's file. importance: a matrix file, or None to build without one.

    origin: names what quantized tensors depend on beside tensor and type, in the cache of them.
    """

    done_by: ClassVar[str] = "bench.quantize.build:build"
    pinned: ClassVar[bool] = True

    model: Content
    recipe: Recipe
    importance: Content | None
    threads: int
    out: Content
    origin: str


class PlanResult(Frozen):
    """types, replaced: as in QuantizeResult; n_bytes: of the file, exactly; bits_per_weight: of its tensors."""

    types: dict[str, str]
    replaced: dict[str, tuple[str, str]]
    n_bytes: int
    bits_per_weight: float


class PlanJob(Job[PlanResult]):
    """What a recipe would make of a model. with_importance: whether it would be built with an importance matrix."""

    done_by: ClassVar[str] = "bench.quantize.build:plan_job"

    model: Content
    recipe: Recipe
    with_importance: bool


class WeightErrorResult(Frozen):
    """errors: {tensor: {type: relative weighted error}}, see weight_error.py."""

    errors: dict[str, dict[str, float]]


class WeightErrorJob(Job[WeightErrorResult]):
    """What quantizing does to single tensors. types: the types to try, by tensor; importance: as in QuantizeJob."""

    done_by: ClassVar[str] = "bench.quantize.weight_error:weight_errors"
    pinned: ClassVar[bool] = True

    model: Content
    types: dict[str, tuple[str, ...]]
    importance: Content | None
    threads: int
