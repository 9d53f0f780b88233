"""Reference, recipe and importance matrix to a quantized file, in a worker process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import gguf

from bench import imatrix
from bench.donors import with_donors
from bench.errors import BenchError, MeasurementError
from bench.gguf_io import UNQUANTIZED, ModelInfo, complete_or_absent, inspect
from bench.jobs import QuantizeJob
from bench.quantizer import Plan, QuantizeRequest, plan, quantize
from bench.recipes import apply_rules, find_recipe

#: Types whose blocks cannot be chosen well without importance data; llama.cpp refuses to write them without it.
#: (For formats, whose mixes contain them, see options.py.)
_TYPES_THAT_NEED_IMPORTANCE = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS"})


def build(job: QuantizeJob, progress: Callable[[float], None]) -> Plan:
    """Write the recipe's file; it appears under its name only when it is complete. Returns what it holds.

    Raises BenchError for a recipe that does not fit the model, importance data that is missing or of another model,
    and a disk without room for the file.
    """
    recipe = find_recipe(job.recipe)
    header = inspect(job.model)
    importance = {}
    if job.importance is not None:
        matrix = imatrix.read(job.importance)
        importance = matrix.fitted(header, job.importance).means()
    mix = planned = plan(QuantizeRequest(job.model, recipe.base, {}, importance))
    if recipe.rules:
        asked = apply_rules(recipe, mix.types, header.n_layers)
        # Every tensor is pinned: llama.cpp's mix counts the tensors it decides on, and would treat the middle layers as
        # the first ones if the outer layers were taken out of its hands.
        planned = plan(QuantizeRequest(job.model, recipe.base, mix.types | asked, importance))
        planned.replaced.update({name: r for name, r in mix.replaced.items() if name not in asked})
    for name, chosen in planned.types.items():
        if chosen in _TYPES_THAT_NEED_IMPORTANCE and name.startswith("blk.") and name not in importance:
            which = (
                "an importance matrix"
                if not importance
                else f"importance data for {name}, which {job.importance} lacks"
            )
            raise MeasurementError(
                f"{recipe.name} needs {which}: pass --imatrix FILE, or leave --imatrix and --no-imatrix out to compute one"
            )
    needed = _bytes(planned.types, header)
    with complete_or_absent(job.out) as partial:
        free = shutil.disk_usage(partial.parent).free
        if free < needed:
            raise BenchError(
                f"{job.out.parent}: {recipe.name} needs {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free; "
                "free some space or choose another directory with --cache"
            )
        # The file with the donors' tensors is at most as large as the model; without room for it they are done without.
        scratch = partial.with_name(f".{job.out.name}.source.{os.getpid()}.partial")
        donors = job.donors if free > needed + 1.05 * header.n_bytes else ()
        with with_donors(job.model, planned.types, donors, scratch) as source:
            # All of them, but for those that no format touches: what llama.cpp decides itself depends on what it counts.
            pinned = {
                t.name: chosen
                for t in header.tensors
                if (chosen := planned.types[t.name]) != t.type or chosen not in UNQUANTIZED
            }
            request = QuantizeRequest(source, recipe.base, pinned, importance)
            quantize(request, partial, threads=job.threads, progress=progress)
            if {t.name: t.type for t in inspect(partial).tensors} != planned.types:
                raise MeasurementError(f"{recipe.name}: llama.cpp stored other types than it planned")
    return planned


def _bytes(types: dict[str, str], header: ModelInfo) -> int:
    """Bytes of all tensors in these types."""
    sizes = {name: gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]] for name in set(types.values())}
    return sum(t.n_weights // sizes[types[t.name]][0] * sizes[types[t.name]][1] for t in header.tensors)
