"""The candidates: formats for a model, files of a repository, sizes of model; with the memory that each needs and its speed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from bench.advise.bits import n_weights, read_for_a_token, stored
from bench.advise.guide import GuideFormat, GuideModel, guide, shape_like
from bench.advise.situation import Fit, Situation, fit
from bench.advise.speed import Speed, expected
from bench.core.errors import BenchError
from bench.engine.jobs import Buffers
from bench.engine.memory import Memory, ModelShape, memory_needed, repacked_bytes, shape_in
from bench.execute.content import Content
from bench.execute.job import Executor
from bench.gguf_files.info import ModelInfo
from bench.models.listed import Listed
from bench.quantize.jobs import PlanJob, PlanResult
from bench.recipes.labels import hub_label
from bench.recipes.recipe import find_recipe
from bench.recipes.sizes import parse_size


@dataclass(frozen=True)
class Candidate:
    """Something to choose. name: as tables call it; n_bytes: of the file; bits: per weight; format: what the guide says of it, None
    for what it does not know; file: its name in a repository, where it is in one; speed: expected, None where nothing tells."""

    name: str
    n_bytes: int
    bits: float
    memory: Memory
    fit: Fit
    speed: Speed | None
    format: GuideFormat | None
    file: str | None = None


def plan_guide(model: Content, executor: Executor) -> dict[str, PlanResult]:
    """llama.cpp's plan for every recipe of the guide that leaves nothing to choose, by name; those it refuses are left out."""
    found: dict[str, PlanResult] = {}
    for name in dict.fromkeys(_planned_as(r) for f in guide().formats for r in f.recipes):
        try:
            found[name] = executor.do(PlanJob(model=model, recipe=find_recipe(name), with_importance=True))
        except BenchError:
            continue  # llama.cpp cannot make it of this model, which `recipe show` explains
    return found


def _planned_as(recipe: str) -> str:
    found = find_recipe(recipe)
    return found.base if found.size else found.name


def _ordered(found: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Most bits first, which stands for quality where nothing has measured it; of equal ones the guide's order."""
    return tuple(sorted(found, key=lambda c: -c.n_bytes))


def of_model(
    model: ModelInfo, shape: ModelShape, plans: Mapping[str, PlanResult], buffers: Buffers | None, here: Situation
) -> tuple[Candidate, ...]:
    """Every format of the guide for a model, most bits first. plans: see plan_guide. Raises BenchError where there is none."""
    shapes = {t.name: t.shape for t in model.tensors}
    found = []
    for row in guide().formats:
        if row.only_experts and not any("_exps." in name for name in shapes):
            continue
        for recipe in row.recipes:
            plan = plans.get(_planned_as(recipe))
            if plan is None:
                continue
            size = find_recipe(recipe).size
            n_bytes = round(plan.n_bytes * (1 + ((parse_size(size).over if size else None) or 0.0)))
            copied = repacked_bytes(shapes, plan.types, here.features)
            used = shape.experts / shape.all_experts
            read = read_for_a_token(shapes, plan.types, used)
            context = here.wishes.context
            needed = memory_needed(shape, n_bytes, window=context, repacked=copied, buffers=buffers)
            speed = expected(here.limits, read, needed.kv_cache)
            bits = 8 * n_bytes / model.n_weights
            found.append(Candidate(recipe, n_bytes, bits, needed, fit(needed.needed, here.machine), speed, row))
    if not found:
        raise BenchError(f"{model.path.name}: llama.cpp can make no format of it; name another model")
    return _ordered(found)


def of_size(model: GuideModel, here: Situation) -> tuple[Candidate, ...]:
    """Every format of the guide for one of the guide's sizes of model, most bits first."""
    found = []
    for row in guide().formats:
        for recipe in row.recipes if bool(model.experts) or not row.only_experts else ():
            file = stored(recipe, model.name)
            needed = memory_needed(shape_like(model), file.n_bytes, window=here.wishes.context)
            speed = expected(here.limits, file.read, needed.kv_cache)
            found.append(
                Candidate(recipe, file.n_bytes, file.bits, needed, fit(needed.needed, here.machine), speed, row)
            )
    return _ordered(found)


def format_of(name: str) -> tuple[GuideFormat, str] | None:
    """What the guide says of a file by its name, and the recipe that it stands for there; None for a name that tells of none."""
    label = hub_label(name) or ("MXFP4" if "MXFP4" in name.upper() else None)
    if label is None:
        return None
    plain = label.removeprefix("UD-")
    kinds = [plain, re.sub(r"_XL$", "_M", plain), re.sub(r"_[A-Z]+$", "", plain), f"{plain}_MOE"]
    if re.search(r"_DG$", plain):
        kinds.insert(0, f"DG-{plain.removesuffix('_DG')}")
    return next(((row, k) for k in kinds if (row := guide().of(k)) is not None), None)


def of_repository(listed: Listed, here: Situation) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """The files of a repository, most bits first, and what was assumed of them, a sentence each.

    Raises BenchError when neither the hub nor any file's name tells how many weights the model has.
    """
    named = [(m, format_of(m.name)) for m in listed.models]
    largest = max(((m.n_bytes, known[1]) for m, known in named if known), default=None)
    shape, layers, assumed = _stated(listed)
    mixture = shape is not None and shape.all_experts > 1
    like = _like(listed.n_weights, largest, mixture)
    weights = listed.n_weights
    if weights is None:
        if largest is None:
            raise BenchError(f"{listed.named}: no name of its files tells a format; name one that is downloaded")
        weights = round(8 * largest[0] / stored(largest[1], like.name).bits)
        assumed.append(f"The model has about {weights / 1e9:.2g} billion weights, by the size of its largest file.")
    if shape is None:
        shape = shape_like(like)
        assumed.append(f"Memory is that of {like.like}, since the header of the files could not be read.")
    found = []
    for model, known in named:
        row, recipe = known or (None, None)
        needed = memory_needed(shape, model.n_bytes, window=here.wishes.context)
        speed = None
        if recipe:
            of_like = stored(recipe, like.name)
            total = sum(of_like.read.values())
            share = _active(shape, layers, weights) if mixture else total / of_like.weights
            read = {t: n / total * share * weights for t, n in of_like.read.items()}
            speed = expected(here.limits, read, needed.kv_cache, model.n_bytes * share)
        fits = fit(needed.needed, here.machine)
        bits = 8 * model.n_bytes / weights
        found.append(Candidate(model.name, model.n_bytes, bits, needed, fits, speed, row, model.path))
    return _shortened(_ordered(found)), tuple(assumed)


def _stated(listed: Listed) -> tuple[ModelShape | None, int, list[str]]:
    """The shape that the header states and its layers, and why memory is only approximate; None for a header that does not."""
    try:
        shape = shape_in(listed.metadata, listed.named)
    except BenchError:
        return None, 0, []
    layers = listed.metadata.get(f"{listed.metadata.get('general.architecture')}.block_count")
    notes = [f"Memory is approximate: {why}." for why in shape.notes]
    return shape, layers if isinstance(layers, int) else 0, notes


def _like(weights: int | None, largest: tuple[int, str] | None, mixture: bool) -> GuideModel:
    """The guide's model that is most like another: with experts or without, and nearest in weights.

    largest: bytes of a file and its format, to go by where the number of weights is not known.
    """

    def distance(model: GuideModel) -> float:
        if weights is not None or largest is None:
            return abs((weights or 0) / n_weights(model) - 1)
        return abs(largest[0] / stored(largest[1], model.name).n_bytes - 1)

    return min((m for m in guide().models if bool(m.experts) == mixture), key=distance)


def _active(shape: ModelShape, layers: int, weights: int) -> float:
    """Share of the weights of a mixture of experts that work on one token."""
    experts = min(1.0, 3 * layers * shape.width * shape.feed_forward * shape.all_experts / weights)
    return 1 - experts * (1 - shape.experts / shape.all_experts)


def _shortened(found: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Files called by what the hub offers them as, where that is one file's alone."""
    found = tuple(found)
    labels = [hub_label(c.name) for c in found]
    return tuple(
        replace(c, name=label) if label and labels.count(label) == 1 else c
        for c, label in zip(found, labels, strict=True)
    )
