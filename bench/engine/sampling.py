"""Generation by chance: tokens drawn from a model's own distribution."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import MeasurementError
from bench.engine.context import Context


def draw(logits: NDArray[np.float32], temperature: float, chance: float) -> int:
    """The token that a number from 0 to 1 stands for, where each takes as much room as its probability, in the vocabulary's order.

    logits: (vocabulary,). temperature: what logits are divided by; 0 for the likeliest token. In float64, so that the same logits and number
    give the same token everywhere. Raises MeasurementError for logits that are not finite.
    """
    if not np.isfinite(logits).all():
        raise MeasurementError("the logits hold NaN or Inf, so there is nothing to draw from; the model is broken")
    if temperature == 0:
        return int(logits.argmax())
    scaled = logits.astype(np.float64) / temperature
    reached = np.cumsum(np.exp(scaled - scaled.max()))
    return min(int(np.searchsorted(reached, chance * reached[-1], side="right")), len(logits) - 1)


def sampled(
    context: Context, limit: int, temperature: float, chance: Callable[[], float], ends: Collection[int] = ()
) -> Iterator[int]:
    """Tokens after the last decode, up to the limit or to the one with which the model ends, or one of `ends`, which is the last then. The very
    last one is not decoded any more."""
    for i in range(limit):
        token = draw(context.logits()[-1], temperature, chance())
        yield token
        if context.model.is_end(token) or token in ends or i + 1 == limit:
            return
        context.prepare(np.array([token], np.int32), 0)
        context.decode()
