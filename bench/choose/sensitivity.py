"""The measured sensitivity of a model's output to the types of its tensors, and its prediction for other types.

A tensor's sensitivity is the mean KL divergence from the reference on calibration text when only this tensor is quantized, to
its probe type of about 2 bits. Its divergence in another type is taken to be proportional to the relative weighted error of
its weights (quantize/weight_error.py), with the factor that the measurement gives.

The reverse, restoring one tensor when all are quantized, was measured too and is of no use: a model that is all in
2 bits is so damaged that the differences are noise (of 100 tensors of the default model, half made it worse).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.choose.prober import PROBE_WINDOW, Prober
from bench.core.errors import BenchError
from bench.gguf_files.info import TensorInfo
from bench.recipes.needs import fits, type_needs_importance

#: What goes on, as a stage of a run.
STAGE = "Sensitivities"
#: What a tensor is probed with: the first that its width and the importance matrix allow.
_PROBES = ("IQ2_XXS", "Q2_K", "Q4_0", "Q8_0")


def usable(tensor: TensorInfo, types: tuple[str, ...], has_importance: bool) -> tuple[str, ...]:
    """Those of the types that a tensor can be stored in."""
    return tuple(
        t
        for t in types
        if fits(tensor.shape[0], t)
        and (has_importance or t == tensor.type or not type_needs_importance(tensor.name, t))
    )


@dataclass(frozen=True)
class Sensitivity:
    """probes: the type that every tensor was probed with; kl: mean divergence by window, nats, empty where the logits were
    not finite."""

    probes: dict[str, str]
    kl: dict[str, NDArray[np.float64]]

    @property
    def label(self) -> str:
        """The type that most tensors were probed with."""
        return Counter(self.probes.values()).most_common(1)[0][0]

    @cached_property
    def means(self) -> dict[str, float]:
        """Nats. What was lost in the noise, or below it, counts as little and not as nothing; what is not finite, as much."""
        found = {name: float(v.mean()) if v.size else np.inf for name, v in self.kl.items()}
        positive = [v for v in found.values() if 0 < v < np.inf]
        smallest, largest = min(positive, default=1e-9), 100 * max(positive, default=1.0)
        return {name: float(np.clip(v, smallest, largest)) for name, v in found.items()}


def probe_types(tensors: list[TensorInfo], with_importance: set[str]) -> dict[str, str]:
    """The probe type of every tensor. Raises BenchError for a tensor that none fits."""
    found = {}
    for tensor in tensors:
        types = usable(tensor, _PROBES, tensor.name in with_importance)
        if not types:
            raise BenchError(
                f"{tensor.name}: its {tensor.shape[0]} columns fit no quantized type, so nothing is to choose"
            )
        found[tensor.name] = types[0]
    return found


def types_to_probe(tensors: list[TensorInfo], with_importance: set[str], wanted: str) -> dict[str, str]:
    """The wanted type for every tensor that it fits."""
    return {t.name: wanted for t in tensors if usable(t, (wanted,), t.name in with_importance)}


def measure(prober: Prober, probes: dict[str, str], windows: tuple[int, ...]) -> Sensitivity:
    """Measure every tensor in the type that `probes` names; what is in the cache is not measured again. windows: of the calibration text."""
    each = [{name: t} for name, t in probes.items()]
    with prober.work.reporter.stage(STAGE):
        found = prober.divergences(each, windows, "Sensitivity, tensor by tensor", PROBE_WINDOW)
    return Sensitivity(probes, dict(zip(probes, found, strict=True)))


def rank_correlation(sensitivity: Sensitivity, errors: dict[str, dict[str, float]]) -> float:
    """Spearman's rank correlation of the cheap estimate, the relative weighted error, with the measured divergence."""
    names = [n for n in sensitivity.kl if sensitivity.kl[n].size]
    cheap = [errors[n][sensitivity.probes[n]] for n in names]
    from scipy.stats import spearmanr  # a second to import

    return float(spearmanr(cheap, [sensitivity.means[n] for n in names]).statistic)
