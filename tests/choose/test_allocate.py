"""The solver against all assignments, tried one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from bench.choose.allocate import allocate, undominated
from bench.choose.jobs import TypeOption
from bench.core.errors import MeasurementError


def options(seed: int, tensors: int = 6) -> dict[str, tuple[TypeOption, ...]]:
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
    found = allocate(given, budget)
    assert found.cost == pytest.approx(min(sum(o.cost for o in a) for a in within), rel=1e-4)
    assert found.n_bytes <= budget and found.gap <= 1e-4
    assert found.types.keys() == given.keys()


def test_a_budget_that_nothing_meets() -> None:
    given = options(1)
    smallest = sum(min(o.n_bytes for o in of) for of in given.values())
    assert allocate(given, smallest).n_bytes == smallest
    with pytest.raises(MeasurementError, match="allow more"):
        allocate(given, smallest - 1)


def test_options_that_cost_more_and_save_nothing_are_left_out() -> None:
    a, b, c = (
        TypeOption(type=n, cost=cost, n_bytes=n_bytes)
        for n, cost, n_bytes in (("a", 1, 10), ("b", 2, 20), ("c", 0.5, 30))
    )
    assert undominated((c, b, a)) == (a, c)
