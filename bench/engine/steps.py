"""A window in steps of one ubatch, whose logits are scored and dropped one after the other, so that memory is that of one step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import MeasurementError
from bench.engine.context import Context
from bench.engine.settings import Settings


@dataclass(frozen=True)
class Step:
    """Tokens of a window that are decoded at once: from `first` to `last`, which is left out; logits from `scored` on."""

    first: int
    last: int
    scored: int

    @property
    def has_logits(self) -> bool:
        return self.scored < self.last


def steps_of(settings: Settings) -> list[Step]:
    """The steps of a window."""
    window, ubatch, begin = settings.window, settings.ubatch, settings.first_scored
    return [Step(i, min(i + ubatch, window), max(i, min(begin, i + ubatch, window))) for i in range(0, window, ubatch)]


def longest_step(settings: Settings) -> int:
    """Most scored tokens of a step: whose logits are in memory at a time, however long the window is."""
    return max(step.last - step.scored for step in steps_of(settings))


def logits_by_step(
    context: Context, tokens: NDArray[np.int32], settings: Settings
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Decode a window from an empty memory; yields, for each step that has scored tokens, the number of the first of them and their logits,
    (tokens, vocabulary). They are overwritten by the next step, and those of the last token, which has nothing to predict, are left out.

    Raises MeasurementError where not all tokens were processed.
    """
    context.clear()
    for step in steps_of(settings):
        context.prepare(tokens[step.first : step.last], step.scored - step.first)
        context.decode()
        if context.n_past != step.last:
            raise MeasurementError(
                f"only {context.n_past} of the first {step.last} tokens of the window were processed"
            )
        if step.has_logits:
            logits = context.logits()
            yield step.scored - settings.first_scored, logits[:-1] if step.last == settings.window else logits
