"""A window that is decoded step by step, and paused within its steps, has the logits of one decode to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.engine.context import Context
from bench.engine.graph import pausing_callback
from bench.engine.llama import Model

WINDOW, UBATCH = 64, 16


def logits(
    model: Model, tokens: NDArray[np.int32], step: int, every: int | None = None
) -> tuple[NDArray[np.float32], int]:
    """Logits of the second half of a window, and how often its decodes were paused."""
    pauses: list[int] = []
    callback = None if every is None else pausing_callback(lambda: pauses.append(1), every)
    found = []
    with Context(model, n_ctx=WINDOW, n_batch=WINDOW, n_ubatch=UBATCH, threads=2, callback=callback) as context:
        for first in range(0, WINDOW, step):
            wanted = max(first, min(WINDOW // 2, first + step))
            context.prepare(tokens[first : first + step], wanted - first)
            context.decode()
            if wanted < first + step:
                found.append(context.logits().copy())
    return np.concatenate(found), len(pauses)


@pytest.mark.parametrize(("step", "every"), [(UBATCH, None), (UBATCH, 8), (UBATCH, 1), (WINDOW, 8)])
def test_steps_and_pauses_change_no_digit(tiny: Path, step: int, every: int | None) -> None:
    with Model(tiny) as model:
        tokens = np.random.default_rng(1).integers(0, model.n_vocab, WINDOW).astype(np.int32)
        whole, _ = logits(model, tokens, WINDOW)
        stepwise, pauses = logits(model, tokens, step, every)
    assert whole.shape == (WINDOW // 2, whole.shape[1])
    assert (whole == stepwise).all()
    assert (pauses > 4) == (every is not None)
