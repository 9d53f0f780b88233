"""The solver against all assignments, tried one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from bench.choose.allocate import allocate, joined, undominated
from bench.choose.jobs import Limit, Options, TypeOption
from bench.core.errors import MeasurementError


def limit_of(given: Options, budget: int) -> tuple[Limit, ...]:
    """One limit for all."""
    return (Limit(tensors=tuple(given), n_bytes=budget),)


def options(seed: int, tensors: int = 6) -> Options:
    rng = np.random.default_rng(seed)
    return {
        f"t{i}": tuple(
            TypeOption(type=f"b{b}", cost=float(rng.lognormal()) * 4.0**-b, n_bytes=int(rng.integers(5, 9)) * b * 32)
            for b in (1, 2, 4)
        )
        for i in range(tensors)
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_the_least_cost_of_all_assignments_within_the_budget(seed: int, share: float) -> None:
    given = options(seed)
    small, large = (sum(pick(o.n_bytes for o in of) for of in given.values()) for pick in (min, max))
    budget = round(small + share * (large - small))
    within = [a for a in product(*given.values()) if sum(o.n_bytes for o in a) <= budget]
    found = allocate(given, limit_of(given, budget))
    assert found.cost == pytest.approx(min(sum(o.cost for o in a) for a in within), rel=1e-4)
    assert found.n_bytes <= budget and found.gap <= 1e-4
    assert found.types.keys() == given.keys()


def test_a_budget_that_nothing_meets() -> None:
    given = options(1)
    smallest = sum(min(o.n_bytes for o in of) for of in given.values())
    assert allocate(given, limit_of(given, smallest)).n_bytes == smallest
    with pytest.raises(MeasurementError, match="allow more"):
        allocate(given, limit_of(given, smallest - 1))


def of_type(options: tuple[TypeOption, ...], name: str) -> TypeOption:
    return next(o for o in options if o.type == name)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shares", [(0.1, 0.7), (0.5, 0.5), (0.9, 0.2)])
def test_the_least_cost_with_groups_and_budgets_by_class(seed: int, shares: tuple[float, float]) -> None:
    """Against every assignment of types to seven tensors: two classes with a budget each, a pair of one type in either, and a tensor that
    lacks a type that its partner may take."""
    given = options(seed, tensors=7)
    given["t1"] = tuple(o for o in given["t1"] if o.type != "b4")
    classes, together = (("t0", "t1", "t2", "t6"), ("t3", "t4", "t5")), (("t0", "t1"), ("t4", "t5"))
    limits, names = [], list(given)
    for tensors, share in zip(classes, shares, strict=True):
        small, large = (sum(pick(o.n_bytes for o in given[n]) for n in tensors) for pick in (min, max))
        limits.append(Limit(tensors=tensors, n_bytes=round(small + share * (large - small))))

    def allowed(types: dict[str, str]) -> bool:
        return all(len({types[n] for n in group}) == 1 for group in together) and all(
            sum(of_type(given[n], types[n]).n_bytes for n in limit.tensors) <= limit.n_bytes for limit in limits
        )

    every = (
        dict(zip(names, types, strict=True)) for types in product(*([o.type for o in of] for of in given.values()))
    )
    least = min(sum(of_type(given[n], t).cost for n, t in types.items()) for types in every if allowed(types))

    found = allocate(given, limits, together)
    assert allowed(found.types) and list(found.types) == names
    assert found.cost == pytest.approx(least, rel=1e-4) and found.gap <= 1e-4
    assert found.cost == pytest.approx(sum(of_type(given[n], t).cost for n, t in found.types.items()))
    assert found.n_bytes == sum(of_type(given[n], t).n_bytes for n, t in found.types.items())
    free = allocate(given, limits)
    assert free.cost <= found.cost * (1 + 1e-4), "what is bound by more loses no less"


def test_groups_bind() -> None:
    """A pair that gets two types unless it is kept together, and the types that such a pair may have."""

    def option(kind: str, cost: float, n_bytes: int) -> TypeOption:
        return TypeOption(type=kind, cost=cost, n_bytes=n_bytes)

    given = {
        "up": (option("a", 10, 10), option("b", 1, 20), option("c", 0.5, 30)),
        "gate": (option("c", 0.4, 30), option("b", 1, 20), option("a", 1.4, 10)),
    }
    limits = limit_of(given, 40)
    assert allocate(given, limits).types == {"up": "c", "gate": "a"}
    bound = allocate(given, limits, (("up", "gate"),))
    assert bound.types == {"up": "b", "gate": "b"} and (bound.cost, bound.n_bytes) == (2.0, 40)
    assert [o.type for o in joined([given["up"], given["gate"][:2]])] == ["b", "c"]


def test_a_budget_that_holds_no_tensor_with_a_choice_binds_nothing() -> None:
    given = options(3)
    whole = limit_of(given, 10**6)
    assert allocate(given, (*whole, Limit(tensors=(), n_bytes=0))) == allocate(given, whole)


def test_options_that_cost_more_and_save_nothing_are_left_out() -> None:
    a, b, c = (
        TypeOption(type=n, cost=cost, n_bytes=n_bytes)
        for n, cost, n_bytes in (("a", 1, 10), ("b", 2, 20), ("c", 0.5, 30))
    )
    assert undominated((c, b, a)) == (a, c)
