"""Jobs for hidden states: requests to a worker, and its answers."""

from __future__ import annotations

from typing import ClassVar

from bench.core.values import Amount, Count
from bench.engine.settings import Settings
from bench.execute.content import Content
from bench.execute.job import Frozen, Job


class PropagationResult(Frozen):
    """Relative errors by layer (see compute.py); None where a layer's input is not known. Empty for the reference."""

    window: Count
    residual: tuple[Amount, ...]
    attention: tuple[Amount | None, ...]
    feed_forward: tuple[Amount | None, ...]


class PropagationJob(Job[PropagationResult]):
    """Write a model's hidden states of the first tokens of a window to `states`, or compare with those that are there."""

    done_by: ClassVar[str] = "bench.measures.propagation.compute:propagate"
    pinned: ClassVar[bool] = True

    model: Content
    stream: Content
    window: int
    tokens: int
    settings: Settings
    states: Content
    write: bool
