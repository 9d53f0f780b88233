"""Whether damages add up: the divergence of tensors that are quantized together against the sum of what each does alone.

Types are chosen as if they did (allocate.py), which the trials of whole assignments then correct. Both are measured on the same windows of the
calibration text, so that the ratio is paired.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.choose.prober import PROBE_WINDOW, Prober
from bench.choose.sensitivity import STAGE, Sensitivity
from bench.recipes.kinds import kind_of
from bench.statistics.estimates import Estimate, ratio_of_sums

#: The group of all tensors that were measured alone.
ALL = "all"


@dataclass(frozen=True)
class Together:
    """Tensors that were quantized together. measured_in: label of the Sensitivity; group: ALL, or their kind; tensors: how many; alone: sum of their
    single divergences, joint: divergence of all of them at once, nats by window, empty where logits were not finite."""

    measured_in: str
    group: str
    tensors: int
    alone: NDArray[np.float64]
    joint: NDArray[np.float64]

    @property
    def ratio(self) -> Estimate:
        """joint / alone, means over windows: 1 where damages add up, more where they strengthen each other. Windows are far apart in the text, and
        count as independent. NaN where the logits of either were not finite, or nothing was lost."""
        if not self.alone.size or not self.joint.size or self.alone.min() <= 0:
            return Estimate(math.nan)
        return ratio_of_sums(self.joint, self.alone, "logarithm")


def measure_together(prober: Prober, sensitivity: Sensitivity, windows: tuple[int, ...]) -> tuple[Together, ...]:
    """Measure all tensors together, and those of each kind, in the types that each was measured in alone, on the same windows."""
    groups = groups_of(sensitivity.probes)
    assignments = [{n: sensitivity.probes[n] for n in names} for names in groups.values()]
    with prober.work.reporter.stage(STAGE):
        found = prober.divergences(assignments, windows, "Sensitivity, tensors together", PROBE_WINDOW)
    return tuple(
        Together(sensitivity.label, group, len(names), _sum([sensitivity.kl[n] for n in names]), joint)
        for (group, names), joint in zip(groups.items(), found, strict=True)
    )


def groups_of(probes: Mapping[str, str]) -> dict[str, list[str]]:
    """All tensors, and those of each kind that has several, in the order of the model."""
    kinds: dict[str, list[str]] = {}
    for name in probes:
        kinds.setdefault(kind_of(name), []).append(name)
    return {ALL: list(probes), **{kind: names for kind, names in kinds.items() if len(names) > 1}}


def _sum(alone: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """By window; empty where one of them is."""
    return np.sum(alone, axis=0) if all(kl.size for kl in alone) else np.empty(0)
