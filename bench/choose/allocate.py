"""Which type every tensor gets within a size: a multiple-choice knapsack, solved by HiGHS through scipy.

    minimize    sum of cost(tensor, type) over the types chosen
    subject to  one type for every tensor, sum of bytes <= budget

The linear relaxation of such a problem leaves one tensor undecided at most, so the solver ends at once and within a
stated distance from the optimum of the model's predictions. The measurements may have another optimum. It runs in a worker
process, since the solver writes to standard output.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from bench.choose.jobs import Allocation, TypeOption
from bench.core.errors import MeasurementError

#: The solver stops when it is this close to the optimum, relative to the objective, or after some seconds.
_GAP, _SECONDS = 1e-4, 5.0


def allocate(options: dict[str, tuple[TypeOption, ...]], budget: int) -> Allocation:
    """The cheapest choice of one option for every tensor within `budget` bytes.

    Raises MeasurementError, which ends this recipe and not the sweep, for a budget that no choice meets.
    """
    useful = {name: undominated(found) for name, found in options.items()}
    smallest = sum(min(o.n_bytes for o in found) for found in useful.values())
    if smallest > budget:
        raise MeasurementError(
            f"the smallest choice of types takes {smallest:,} bytes of tensors and {budget:,} are allowed; allow more"
        )
    flat = [(i, o) for i, found in enumerate(useful.values()) for o in found]
    cost = np.array([o.cost for _, o in flat])
    sizes = np.array([float(o.n_bytes) for _, o in flat])
    rows = np.array([i for i, _ in flat])
    one_each = csr_array((np.ones(len(flat)), (rows, np.arange(len(flat)))), shape=(len(useful), len(flat)))
    # in units of the budget and of the largest cost: tolerances of the solver are absolute
    scale = cost.max() or 1.0
    solved = milp(
        cost / scale,
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint((sizes / budget)[None, :], -np.inf, 1.0),
        ],
        options={"mip_rel_gap": _GAP, "time_limit": _SECONDS},
    )
    if solved.x is None:
        raise MeasurementError(f"the solver found no choice of types within {budget:,} bytes ({solved.message})")
    chosen = [o for (_, o), x in zip(flat, solved.x, strict=True) if x > 0.5]
    types = {name: o.type for name, o in zip(useful, chosen, strict=True)}
    total = sum(o.n_bytes for o in chosen)
    if total > budget:  # by the solver's tolerance, some millionths
        return allocate(options, budget - (total - budget))
    cost_of_choice = float(sum(o.cost for o in chosen))
    return Allocation(types=types, cost=cost_of_choice, n_bytes=total, gap=float(solved.mip_gap or 0.0))


def undominated(options: tuple[TypeOption, ...]) -> tuple[TypeOption, ...]:
    """Options that no other beats in both cost and size, smallest first."""
    kept: list[TypeOption] = []
    for option in sorted(options, key=lambda o: (o.n_bytes, o.cost)):
        if not kept or option.cost < kept[-1].cost:
            kept.append(option)
    return tuple(kept)
