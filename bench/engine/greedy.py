"""Greedy generation: always the most likely token."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.engine.context import Context


def greedy(context: Context, limit: int) -> Iterator[int]:
    """The likeliest token after the last decode, and so on up to the limit or where the model says that it has finished."""
    model = context.model
    infill = model.infill_tokens() or ()
    for _ in range(limit):
        token = int(context.logits()[-1].argmax())
        if model.is_end(token) or token in infill:
            return
        yield token
        context.prepare(np.array([token], np.int32), 0)
        context.decode()
