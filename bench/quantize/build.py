"""From reference, recipe and importance matrix to a quantized file, in a worker process."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError, MeasurementError
from bench.core.files import complete_or_absent
from bench.core.machine import peak_memory
from bench.engine.quantizer import Plan, QuantizeRequest, plan
from bench.execute.content import Site
from bench.execute.job import Share
from bench.gguf_files.header import read_header
from bench.gguf_files.info import ModelInfo, inspect
from bench.quantize import imatrix_file
from bench.quantize.assemble import assemble, assembled_bytes
from bench.quantize.block_cache import BlockCache
from bench.quantize.jobs import PlanJob, PlanResult, QuantizeJob, QuantizeResult
from bench.recipes.needs import type_needs_importance
from bench.recipes.recipe import Recipe, apply_rules


def build(job: QuantizeJob, site: Site, progress: Share) -> QuantizeResult:
    """Write the recipe's file; it appears under its name only when it is complete.

    Raises BenchError for a recipe that does not fit the model, importance data that is missing or of another model,
    and a disk without room for the file.
    """
    started, recipe = time.perf_counter(), job.recipe
    model, matrix, out = site.path(job.model), site.optional(job.importance), site.path(job.out)
    header = inspect(model)
    importance = fitted_importance(model, matrix)
    planned = _planned(model, header, recipe, importance)
    stored = {t.name: t.type for t in header.tensors}
    for name, chosen in planned.types.items():
        if type_needs_importance(name, chosen) and name not in importance and chosen != stored[name]:
            which = "an importance matrix" if not importance else f"importance data for {name}, which {matrix} lacks"
            raise MeasurementError(
                f"{recipe.name} needs {which}: pass --imatrix FILE, or leave --imatrix and --no-imatrix out to compute one"
            )
    needed = _bytes(planned.types, header)
    blocks = BlockCache.of(site, job.origin)
    with complete_or_absent(out) as partial:
        free = shutil.disk_usage(partial.parent).free
        if free < needed:
            raise BenchError(
                f"{out.parent}: {recipe.name} needs {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free; "
                "free some space or choose another directory with --cache"
            )
        assemble(
            model,
            read_header(model),
            planned.types,
            gguf.LlamaFileType[f"MOSTLY_{recipe.base}" if recipe.base != "F32" else "ALL_F32"],
            importance,
            blocks,
            partial,
            threads=job.threads,
            progress=progress,
        )
    return QuantizeResult(
        types=planned.types,
        replaced=planned.replaced,
        damaged=tuple(blocks.damaged),
        seconds=time.perf_counter() - started,
        peak_memory_bytes=peak_memory(),
    )


def fitted_importance(model: Path, importance: Path | None) -> dict[str, NDArray[np.float32]]:
    """Mean squared activations by tensor name out of a matrix file; empty without one. Raises BenchError for another model's."""
    if importance is None:
        return {}
    return imatrix_file.read(importance).fitted(inspect(model), importance).means()


def _planned(model: Path, header: ModelInfo, recipe: Recipe, importance: dict[str, NDArray[np.float32]]) -> Plan:
    """The type of every tensor: llama.cpp's mix for the base, then the recipe's rules."""
    mix = plan(QuantizeRequest(model, recipe.base, {}, importance))
    if not recipe.rules:
        return mix
    asked = apply_rules(recipe, mix.types, header.n_layers)
    # Every tensor is pinned: llama.cpp's mix counts the tensors it decides on, and would treat the middle layers as
    # the first ones if the outer layers were taken out of its hands.
    planned = plan(QuantizeRequest(model, recipe.base, mix.types | asked, importance))
    kept = {name: r for name, r in mix.replaced.items() if asked.get(name, mix.types[name]) == mix.types[name]}
    planned.replaced.update(kept)
    return planned


def plan_job(job: PlanJob, site: Site, progress: Share) -> PlanResult:
    """What a recipe would make of a model."""
    return planned_file(site.path(job.model), job.recipe, with_importance=job.with_importance)


def planned_file(model: Path, recipe: Recipe, *, with_importance: bool) -> PlanResult:
    """What `build` would write, from the model's header alone: nothing is quantized."""
    header = inspect(model)
    # The mix asks whether there is any importance data, not what it says.
    any_importance = {"any": np.ones(1, np.float32)} if with_importance and not recipe.plain else {}
    planned = _planned(model, header, recipe, any_importance)
    n_weights, n_bytes = header.n_weights, _bytes(planned.types, header)
    return PlanResult(
        types=planned.types,
        replaced=planned.replaced,
        n_bytes=assembled_bytes(model, read_header(model), planned.types),
        bits_per_weight=8 * n_bytes / n_weights,
    )


def _bytes(types: dict[str, str], header: ModelInfo) -> int:
    """Bytes of all tensors in these types."""
    sizes = {name: gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]] for name in set(types.values())}
    return sum(t.n_weights // sizes[types[t.name]][0] * sizes[types[t.name]][1] for t in header.tensors)
