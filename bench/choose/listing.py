"""The list of recipes, with the size of each one's file for a model, before anything is built."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.core.errors import BenchError
from bench.quantize.jobs import PlanJob, PlanResult
from bench.recipes.files import packaged_recipes, read_recipe_file
from bench.recipes.needs import format_needs_importance
from bench.recipes.recipe import SUITES, Recipe, find_recipe, standard_formats
from bench.recipes.sizes import parse_size
from bench.workbench.work import Work

#: The format that mixed recipes are shown on.
SHOWN_ON = "IQ2_XXS"
#: Plans that are asked for at once: each is a short dry run of llama.cpp's quantizer.
_AT_ONCE = 4


@dataclass(frozen=True)
class Listed:
    """A recipe with the size of its file. bits: by its name, which llama.cpp's formats have; needs_importance: cannot be built
    without a matrix. bits_per_weight, n_bytes: None without a model, or where llama.cpp cannot make it; at_most: for a choice
    that has a limit."""

    name: str
    description: str
    bits: int | None = None
    needs_importance: bool = False
    bits_per_weight: float | None = None
    n_bytes: int | None = None
    at_most: bool = False


@dataclass(frozen=True)
class Recipes:
    """formats: llama.cpp's, by bits and then by size; mixed: recipe files of the program, by the size that they have on SHOWN_ON;
    suites: the recipes that each name stands for; model: whose sizes they are, None without one."""

    model: str | None
    formats: tuple[Listed, ...]
    mixed: tuple[Listed, ...]
    suites: dict[str, tuple[str, ...]]


def list_recipes(work: Work | None) -> Recipes:
    """All recipes. work: with the model that they are to be sized for, None for no sizes."""
    asked = [*((_format, name) for name in standard_formats()), *((_mixed, prefix) for prefix in packaged_recipes())]
    if work is None:
        found = [make(None, name) for make, name in asked]
    else:
        _ = work.model  # once, before several ask for it
        with work.reporter.steps("Sizes", 1) as steps, ThreadPoolExecutor(_AT_ONCE) as pool:
            found = []
            for listed in pool.map(lambda one: one[0](work, one[1]), asked):
                found.append(listed)
                steps.share(len(found) / len(asked))
    formats, mixed = found[: len(standard_formats())], found[len(standard_formats()) :]
    return Recipes(
        model=work.reference.info.name if work else None,
        formats=tuple(sorted(formats, key=lambda f: (f.bits, f.bits_per_weight or 0.0))),
        mixed=tuple(sorted(mixed, key=lambda f: (f.bits_per_weight or 0.0, f.name))),
        suites=dict(SUITES),
    )


def _format(work: Work | None, name: str) -> Listed:
    recipe = find_recipe(name)
    found = _planned(work, recipe)
    return Listed(
        name=name,
        description=recipe.description,
        bits=_nominal_bits(name),
        needs_importance=format_needs_importance(name),
        bits_per_weight=found.bits_per_weight if found else None,
        n_bytes=found.n_bytes if found else None,
    )


def _nominal_bits(name: str) -> int:
    """The first number of a name: 2 of IQ2_XXS, 16 of BF16, 4 of MXFP4_MOE."""
    found = re.search(r"\d+", name)
    assert found is not None, f"{name}: a format without a number"
    return int(found[0])


def _mixed(work: Work | None, prefix: str) -> Listed:
    file = read_recipe_file(packaged_recipes()[prefix])
    described = file.description.replace("{base}", "the format").replace("{size}", "a size")
    if any(rule.may for rule in file.rules) and not (file.size or file.sizes):
        return Listed(prefix, described)  # takes the size that is asked for
    recipe = find_recipe(prefix if file.base else f"{prefix}-{SHOWN_ON}")
    if recipe.size is None:
        return _sized(prefix, described, _planned(work, recipe), 1.0)
    over = parse_size(recipe.size).over
    base = None if over is None else _planned(work, find_recipe(recipe.base))
    return _sized(prefix, described, base, 1 + (over or 0.0))


def _sized(prefix: str, described: str, plan: PlanResult | None, times: float) -> Listed:
    """A recipe of the size of a plan, or of a limit that is so many times as much."""
    if plan is None:
        return Listed(prefix, described)
    return Listed(
        name=prefix,
        description=described,
        bits_per_weight=plan.bits_per_weight * times,
        n_bytes=round(plan.n_bytes * times),
        at_most=times != 1,
    )


def _planned(work: Work | None, recipe: Recipe) -> PlanResult | None:
    if work is None:
        return None
    try:
        return work.executor.do(PlanJob(model=work.model, recipe=recipe, with_importance=True))
    except BenchError:
        return None  # llama.cpp cannot make it of this model, which `recipe show` explains
