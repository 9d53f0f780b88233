"""The units that a mean was taken over, and the population that its uncertainty is about.

Values are means over units: the scored tokens of one kind of prompt within one window. Tokens of a unit are correlated, so
it counts as one observation. Two views of the units are possible.

Within kinds: where several kinds of prompt (code, prose, ...) come in several units each, the share of every kind is fixed, as the prompt set
fixes it, and only what differs between units of one kind is uncertain. The interval is about other documents of these kinds in
this mixture.

Blocks: otherwise windows are the units, or groups of neighbours where there are 20 windows or more. The interval is about other
stretches of such text. Kinds that differ then count as uncertainty, which makes it too wide rather than too narrow.

Which view is taken follows from the layout alone and never from the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

#: Fewer windows (or other units) than this support no 95 % interval.
MIN_FOR_INTERVAL = 6
#: Differences within kinds, as degrees of freedom, that it takes to see how much units of a kind differ.
_MIN_WITHIN = 5.0
#: A unit of a smaller share of a window than this says little about its kind, and is left out where differences are taken.
_SMALL = 1 / 8
#: Neighbouring windows are joined while so many blocks are left, since long documents reach over several windows.
_BLOCKS = 10


@dataclass(frozen=True, eq=False)
class Layout:
    """Units of a mean, in the order of their values. tokens: weight of each; windows, kinds: index of each, all (units,); looks: at how
    many numbers of windows intervals may be looked at (sequential.py), which share what they may miss."""

    tokens: NDArray[np.float64]
    windows: NDArray[np.int64]
    kinds: NDArray[np.int64]
    looks: int = 1

    @classmethod
    def of_parts(cls, windows: Sequence[int], kinds: Sequence[str], tokens: Sequence[int], looks: int = 1) -> Self:
        """Parts of windows by the names of their kinds."""
        _, indices = np.unique(kinds, return_inverse=True)
        return cls(np.array(tokens, np.float64), np.array(windows), indices, looks)

    @classmethod
    def of_windows(cls, n: int, looks: int = 1) -> Self:
        """Windows of one kind and of equal weight, or other units that are alike."""
        return cls(np.ones(n), np.arange(n), np.zeros(n, np.int64), looks)

    @classmethod
    def of_units(cls, weights: Sequence[float] | NDArray[np.float64]) -> Self:
        """Independent units of different weight: problems, say. They are never joined."""
        n = len(weights)
        return cls(np.asarray(weights, np.float64), np.arange(n), np.full(n, -1))

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """Weight of each unit, of 1 in all."""
        found: NDArray[np.float64] = self.tokens / self.tokens.sum()
        return found

    @cached_property
    def n_windows(self) -> int:
        return len(np.unique(self.windows))

    @cached_property
    def contrasts(self) -> tuple[NDArray[np.float64], float]:
        """(matrix (rows, units), degrees of freedom): the variance of a mean is the sum of squares of matrix @ values. No degrees
        where there are too few windows for an interval.
        """
        if self.n_windows < MIN_FOR_INTERVAL:
            return np.empty((0, len(self.tokens))), 0.0
        within = self._within()
        return within if within is not None and within[1] >= _MIN_WITHIN else self._between_blocks()

    @property
    def is_within_kinds(self) -> bool:
        """Whether intervals are about other documents of the same kinds in this mixture."""
        within = self._within()
        return self.n_windows >= MIN_FOR_INTERVAL and within is not None and within[1] >= _MIN_WITHIN

    def _within(self) -> tuple[NDArray[np.float64], float] | None:
        """Differences of units from the mean of their kind. None with a single kind, or none in several units.

        The variance of a stratified mean is the sum over kinds of c_k s_k^2, c_k the sum of squared shares of the kind's units and
        s_k^2 the variance between its units (Cochran, Sampling Techniques, 1977, section 5.4, with a unit as a draw). Kinds of a
        single unit take the average of the others, by their shares. The degrees of freedom are Satterthwaite's (Biometrics
        Bulletin 2:6, 1946) for kinds that vary alike: (sum of c_k)^2 / sum of c_k^2 / (n_k - 1).
        """
        kinds = np.unique(self.kinds)
        if len(kinds) < 2:
            return None
        small = _SMALL * self.tokens.sum() / self.n_windows
        several = {k: np.flatnonzero((self.kinds == k) & (self.tokens >= small)) for k in kinds}
        several = {k: units for k, units in several.items() if len(units) > 1}
        c = {k: float((self.shares[self.kinds == k] ** 2).sum()) for k in several}
        known = sum(c.values())
        if not known:
            return None
        inflation = float((self.shares**2).sum()) / known
        rows = []
        for k, units in several.items():
            n = len(units)
            matrix = np.zeros((n, len(self.tokens)))
            matrix[:, units] = (np.eye(n) - 1 / n) * np.sqrt(inflation * c[k] / (n - 1))
            rows.append(matrix)
        degrees = known**2 / sum(c[k] ** 2 / (len(units) - 1) for k, units in several.items())
        return np.vstack(rows), degrees

    def _between_blocks(self) -> tuple[NDArray[np.float64], float]:
        """Differences of blocks from the mean of all: the variance of a ratio of sums over n draws, linearized (Cochran, 1977, section 6.3)."""
        order = {w: i for i, w in enumerate(np.unique(self.windows))}
        joined = max(len(order) // _BLOCKS, 1) if self.kinds.min() >= 0 else 1
        blocks = np.array([order[w] // joined for w in self.windows])
        n = int(blocks.max()) + 1
        member = (blocks == np.arange(n)[:, None]) * self.shares
        return (member - np.outer(member.sum(axis=1), self.shares)) * np.sqrt(n / (n - 1)), float(n - 1)
