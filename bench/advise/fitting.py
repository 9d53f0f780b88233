"""The formats of the guide held against a machine: how large their files are, what they need, and whether that fits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.advise.cpu import has
from bench.advise.guide import GuideFormat, guide, shape_like
from bench.core.errors import MeasurementError
from bench.core.formats import size
from bench.engine.jobs import Buffers
from bench.engine.memory import (
    MachineMemory,
    Memory,
    ModelShape,
    memory_needed,
    repacked_bytes,
    repacked_types,
)
from bench.execute.content import Content
from bench.execute.job import Executor
from bench.gguf_files.info import ModelInfo
from bench.quantize.jobs import PlanJob, PlanResult
from bench.recipes.recipe import find_recipe
from bench.recipes.sizes import parse_size

#: Share of a file that is copied where its main type is rearranged for the CPU and its tensors are not known: 0.64 to 0.93
#: for plans of Q4_K_M and Q4_0.
_COPIED = 0.8
#: Left to the system and other programs: this share of memory, and this many bytes at least.
_HEADROOM, _LEAST_HEADROOM = 0.05, 500_000_000

Fit = Literal["fits", "tight", "does not fit"]


def usable(n_bytes: int) -> int:
    """What is left of memory for a model."""
    return max(0, n_bytes - max(_LEAST_HEADROOM, int(_HEADROOM * n_bytes)))


def fit(needed: Memory | int, machine: MachineMemory) -> Fit:
    """Whether it fits in what is available, with some headroom. tight: only once other programs are closed."""
    n_bytes = needed.needed if isinstance(needed, Memory) else needed
    if n_bytes <= usable(machine.available):
        return "fits"
    return "tight" if n_bytes <= usable(machine.total) else "does not fit"


#: Types that hold a model's weights without quantizing them.
_SIXTEEN = ("BF16", "F16")


@dataclass(frozen=True)
class Situation:
    """What reasons depend on. stored: the model's own type of 16 bits, None for another; features: of the engine."""

    cpu: tuple[str, ...]
    features: tuple[str, ...]
    machine: MachineMemory
    stored: str | None

    def suits(self, row: GuideFormat) -> bool:
        """Whether the format is at its best here."""
        if self.stored and row.name in _SIXTEEN:
            return row.name == self.stored
        return not row.wants or any(has(self.cpu, w) for w in row.wants)


@dataclass(frozen=True)
class Row:
    """A format of the guide for the model. recipe: the one of the row that is meant; n_bytes: of its file."""

    format: str
    recipe: str
    n_bytes: int
    memory: Memory
    fit: Fit
    reason: str


@dataclass(frozen=True)
class SizeRow:
    """A format for the sizes of model that the guide knows: need in bytes and whether it fits, by the size's name."""

    format: str
    recipe: str
    needs: dict[str, tuple[int, Fit]]


def plan_guide(model: Content, executor: Executor, *, with_importance: bool = True) -> dict[str, PlanResult]:
    """llama.cpp's plan for every recipe of the guide that leaves nothing to choose, by name; those it refuses are left out."""
    found: dict[str, PlanResult] = {}
    for name in (r for f in guide().formats for r in f.recipes):
        recipe = find_recipe(name)
        if recipe.size is None:
            try:
                job = PlanJob(model=model, recipe=recipe, with_importance=with_importance)
                found[name] = executor.do(job)
            except MeasurementError:
                continue
    return found


def stored_as(model: ModelInfo) -> str | None:
    """The type of 16 bits that most weights are stored in, None for another."""
    main = next(iter(model.weights_by_type), "")
    return main if main in _SIXTEEN else None


def _file(
    model: ModelInfo, recipe: str, row: GuideFormat, plans: Mapping[str, PlanResult], features: Sequence[str]
) -> tuple[int, int]:
    """Bytes of a recipe's file of the model, and of what the CPU copies of it."""
    found = find_recipe(recipe)
    plan = plans.get(recipe) or plans.get(found.base)
    if plan is not None:
        over = parse_size(found.size).over if found.size else None
        shapes = {t.name: t.shape for t in model.tensors}
        return round(plan.n_bytes * (1 + (over or 0.0))), repacked_bytes(shapes, plan.types, features)
    models = guide().models
    nearest = min(range(len(models)), key=lambda i: abs(models[i].weights / model.n_weights - 1))
    return _estimate(row, nearest, model.n_weights, features)


def _estimate(row: GuideFormat, index: int, weights: int, features: Sequence[str]) -> tuple[int, int]:
    """The same for a number of weights alone, with the bits of the guide's model at an index."""
    n_bytes = round(weights * row.bits[index] / 8)
    main = re.sub(r"_[SML]$", "", row.recipes[0]) if "_K_" in row.recipes[0] else row.recipes[0]
    return n_bytes, round(_COPIED * n_bytes) if main in repacked_types(features) else 0


def format_rows(
    model: ModelInfo,
    shape: ModelShape,
    plans: Mapping[str, PlanResult],
    window: int,
    buffers: Buffers | None,
    here: Situation,
) -> tuple[Row, ...]:
    """Every format of the guide for a model, in the guide's order. plans: see plan_guide; empty to estimate sizes."""
    rows: list[Row] = []
    for row in guide().formats:
        # with plans every recipe of the row has a size of its own: the first that fits, or else the smallest
        candidates = row.recipes if plans else row.recipes[:1]
        tried: list[tuple[str, int, Memory, Fit]] = []
        for recipe in candidates:
            n_bytes, copied = _file(model, recipe, row, plans, here.features)
            needed = memory_needed(shape, n_bytes, window=window, repacked=copied, buffers=buffers)
            tried.append((recipe, n_bytes, needed, fit(needed, here.machine)))
        chosen = next((t for t in tried if t[3] == "fits"), min(tried, key=lambda t: t[1]))
        reason = _reason(row, chosen[3], chosen[2], rows, here)
        if model.quantized_tensors and chosen[1] >= model.n_bytes:
            reason = f"brings nothing back: the file has {model.bits_per_weight:.2f} bits per weight"
        rows.append(Row(row.name, *chosen, reason))
    return tuple(rows)


def _reason(row: GuideFormat, fits: Fit, needed: Memory, larger: Sequence[Row], here: Situation) -> str:
    if fits == "does not fit":
        return f"needs {size(needed.needed)} of {size(here.machine.total)}"
    if row.memory in ("very low", "ultra low"):
        suitable = {f.name for f in guide().formats if here.suits(f)}
        better = next((r for r in reversed(larger) if r.fit == "fits" and r.format in suitable), None)
        if better:
            return f"not needed: {better.recipe} fits"
    if row.name in _SIXTEEN and here.stored:
        return (
            "as the model is stored" if row.name == here.stored else f"the model is in {here.stored}: this only loses"
        )
    if not here.suits(row):
        return f"not at its best here: {row.avoid[0]}"
    if row.wants == ("bf16",) and not any("BF16" in f for f in here.features):
        return "the CPU has BF16 arithmetic, which this engine was built without"
    return row.use[0]


def guide_says(model: ModelInfo, rows: Sequence[Row], here: Situation) -> list[str]:
    """What the guide says of a model's formats on this machine, a sentence each."""
    if model.quantized_tensors:
        return [
            f"{model.path.name} is already quantized ({model.bits_per_weight:.2f} bits per weight); "
            "give the model in F16 or BF16 to choose among formats"
        ]
    fitting = [r for r in rows if r.fit == "fits"]
    if not fitting:
        least = min(rows, key=lambda r: r.memory.needed)
        remedy = "close other programs" if least.fit == "tight" else "take a smaller model or a shorter window"
        return [
            f"No format of the guide fits: {least.recipe} needs {size(least.memory.needed)} and "
            f"{size(here.machine.available)} are available; {remedy}"
        ]
    suitable = {f.name for f in guide().formats if here.suits(f)}
    good = [r for r in fitting if r.format in suitable] or fitting
    said = [f"By the guide, best quality that fits: {_named(good[0])}"]
    balanced = "Q4_0" if has(here.cpu, "arm-dot") else "Q4_K"
    first = next((r for r in good if r.format == balanced), None)
    if first and first != good[0]:
        said.append(f"By the guide, best balance of size and quality on this CPU: {_named(first)}")
    return said


def _named(row: Row) -> str:
    return f"{row.recipe} ({size(row.n_bytes)}, {size(row.memory.needed)} of memory)"


def size_rows(window: int, here: Situation) -> tuple[SizeRow, ...]:
    """Every format of the guide for the guide's sizes of model."""
    rows = []
    for row in guide().formats:
        needs: dict[str, tuple[int, Fit]] = {}
        for i, model in enumerate(guide().models):
            n_bytes, copied = _estimate(row, i, model.weights, here.features)
            needed = memory_needed(shape_like(model), n_bytes, window=window, repacked=copied)
            needs[model.name] = needed.needed, fit(needed, here.machine)
        rows.append(SizeRow(row.name, row.recipes[0], needs))
    return tuple(rows)
