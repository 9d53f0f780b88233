"""What a choice is bound by: bytes of the file or of classes of tensors, and tensors that get one type."""

from __future__ import annotations

from collections.abc import Mapping

from bench.choose.jobs import Limit
from bench.choose.space import Space
from bench.core.errors import MeasurementError
from bench.gguf_files.info import ModelInfo
from bench.quantize.jobs import PlanResult
from bench.recipes.classes import CLASSES, REST, class_of, fused
from bench.recipes.recipe import Recipe

#: Types that tensors may take, by name.
Allowed = dict[str, tuple[str, ...]]


def check_classes(recipe: Recipe, classes: Mapping[str, object], model: ModelInfo) -> None:
    """Raise MeasurementError for a class with a budget that the model has no tensor of."""
    there = {class_of(t.name, classes) for t in model.tensors}
    for name in classes:
        if name not in there and name != REST:
            known = {class_of(t.name, CLASSES) for t in model.tensors}
            raise MeasurementError(
                f"{recipe.name}: {model.name} has no tensors of the class {name}; leave its budget out (it has "
                f"{', '.join(c for c in CLASSES if c in known)})"
            )


def kept_together(recipe: Recipe, allowed: Allowed, model: ModelInfo) -> tuple[Allowed, tuple[tuple[str, ...], ...]]:
    """The types that tensors may take where those that kernels fuse get one type, and these groups.

    Raises MeasurementError for a model without such tensors, and for a group whose tensors have no type in common.
    """
    groups = fused(allowed)
    if not groups:
        raise MeasurementError(
            f"{recipe.name}: {model.name} has no up and gate in a layer that kernels could fuse; leave `together` out"
        )
    bound = dict(allowed)
    for group in groups:
        common = tuple(t for t in allowed[group[0]] if all(t in allowed[n] for n in group))
        if not common:
            raise MeasurementError(
                f"{recipe.name}: no type is allowed for {' and '.join(group)} alike, so they cannot be kept together; leave `together` out, or "
                "give them a type in common in the recipe's rules"
            )
        bound.update(dict.fromkeys(group, common))
    return bound, groups


def limits_within(
    recipe: Recipe,
    plan: PlanResult,
    budgets: Mapping[str, int],
    allowed: Allowed,
    together: tuple[tuple[str, ...], ...],
    space: Space,
) -> tuple[Limit, ...]:
    """Bytes that the tensors with a choice may take, in all or by class.

    plan: of the recipe without its choice; budgets: bytes of the file by class, all of them `rest` where it is the only one.
    Raises MeasurementError for one that no choice meets.
    """
    fixed = {n: t for n, t in plan.types.items() if n not in allowed}
    taken = dict.fromkeys(budgets, 0) | {REST: space.head(plan)}
    for name, t in fixed.items():
        taken[class_of(name, budgets)] += space.taken(name, t)
    limits = []
    for of_class, budget in budgets.items():
        tensors = tuple(n for n in allowed if class_of(n, budgets) == of_class)
        inside = {n for group in together for n in group}
        items = [group for group in together if group[0] in tensors] + [(n,) for n in tensors if n not in inside]
        least = taken[of_class] + space.least(allowed, items)
        if least > budget:
            raise MeasurementError(f"{recipe.name}: {_too_small(of_class, budget, least, alone=len(budgets) == 1)}")
        limits.append(Limit(tensors=tensors, n_bytes=budget - taken[of_class]))
    return tuple(limits)


def _too_small(of_class: str, budget: int, least: int, *, alone: bool) -> str:
    if alone:
        return (
            f"{budget / 1e6:.1f} MB are allowed and the smallest choice of types takes {least / 1e6:.1f} MB; "
            "give it a larger size"
        )
    which = "the rest" if of_class == REST else of_class
    return (
        f"{budget:,} bytes are allowed for {which} and the smallest choice of types takes {least:,}; give {which} at "
        f"least that, {of_class}={least}"
    )
