"""Which type every tensor gets within a size: a multiple-choice knapsack, solved by HiGHS through scipy.

    minimize    sum of cost(tensor, type) over the types chosen
    subject to  one type for every tensor, one type for tensors that are kept together,
                sum of bytes <= limit, for the file or for each class of tensors by itself

Tensors that are kept together are one item, which costs and takes what they do in sum. Limits have no tensor in common and the
objective is a sum, so each limit is a problem of its own. The linear relaxation of such a problem leaves one item
undecided at most, so the solver ends at once and within a stated distance from the optimum of the model's predictions. The
measurements may have another optimum. It runs in a worker process, since the solver writes to standard output.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from bench.choose.jobs import Allocation, Limit, Options, TypeOption
from bench.core.errors import MeasurementError

#: The solver stops when it is this close to the optimum, relative to the objective, or after some seconds.
_GAP, _SECONDS = 1e-4, 5.0


def allocate(options: Options, limits: Sequence[Limit], together: Sequence[tuple[str, ...]] = ()) -> Allocation:
    """The cheapest choice of one option for every tensor within every limit.

    limits: every tensor is in one of them. together: groups of tensors that get one type, each within one limit. Raises
    MeasurementError, which ends this recipe and not the sweep, for a limit that no choice meets.
    """
    members = {group[0]: group for group in together}
    item_of = {name: group[0] for group in together for name in group}
    items = {n: joined([options[m] for m in members.get(n, (n,))]) for n in options if item_of.get(n, n) == n}
    done = [
        _within({n: items[n] for n in limit.tensors if n in items}, limit.n_bytes) for limit in limits if limit.tensors
    ]
    chosen = {n: t for found in done for n, t in found.types.items()}
    return Allocation(
        types={n: chosen[item_of.get(n, n)] for n in options},
        cost=sum(found.cost for found in done),
        n_bytes=sum(found.n_bytes for found in done),
        gap=max(
            (found.gap for found in done), default=0.0
        ),  # costs are not negative, so a sum is as close as its worst part
    )


def joined(options: Sequence[tuple[TypeOption, ...]]) -> tuple[TypeOption, ...]:
    """The types that all of several tensors may take, with what they cost and take together. options: of each."""
    first, *others = options
    by_type = [{o.type: o for o in of} for of in others]
    return tuple(
        TypeOption(type=o.type, cost=sum(x.cost for x in same), n_bytes=sum(x.n_bytes for x in same))
        for o in first
        if all(o.type in of for of in by_type)
        for same in [[o, *(of[o.type] for of in by_type)]]
    )


def _within(options: Options, budget: int) -> Allocation:
    """The cheapest choice of one option for every item within `budget` bytes of them."""
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
        return _within(options, budget - (total - budget))
    cost_of_choice = float(sum(o.cost for o in chosen))
    return Allocation(types=types, cost=cost_of_choice, n_bytes=total, gap=float(solved.mip_gap or 0.0))


def undominated(options: tuple[TypeOption, ...]) -> tuple[TypeOption, ...]:
    """Options that no other beats in both cost and size, smallest first."""
    kept: list[TypeOption] = []
    for option in sorted(options, key=lambda o: (o.n_bytes, o.cost)):
        if not kept or option.cost < kept[-1].cost:
            kept.append(option)
    return tuple(kept)
