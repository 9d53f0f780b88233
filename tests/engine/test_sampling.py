"""Drawing tokens: every number between 0 and 1 stands for one, with room as its probability."""

from __future__ import annotations

import numpy as np
import pytest

from bench.core.errors import MeasurementError
from bench.engine.sampling import draw

LOGITS = np.log(np.array([0.2, 0.3, 0.5])).astype(np.float32)


@pytest.mark.parametrize(
    ("chance", "token"), [(0.0, 0), (0.19, 0), (0.21, 1), (0.49, 1), (0.51, 2), (0.9999999, 2), (1.0, 2)]
)
def test_a_number_stands_for_a_token(chance: float, token: int) -> None:
    assert draw(LOGITS, 1.0, chance) == token


def test_shares_are_the_probabilities_at_a_temperature() -> None:
    """At temperature 2 probabilities go with their square roots."""
    drawn = [draw(LOGITS, 2.0, (i + 0.5) / 10_000) for i in range(10_000)]
    roots = np.sqrt([0.2, 0.3, 0.5])
    assert np.bincount(drawn) / 10_000 == pytest.approx(roots / roots.sum(), abs=2e-4)


def test_zero_is_the_likeliest() -> None:
    assert {draw(LOGITS, 0.0, chance) for chance in (0.0, 0.3, 0.999)} == {2}


def test_large_logits_and_none() -> None:
    assert draw(np.array([1e30, 0.0], np.float32), 1.0, 0.999) == 0
    assert draw(np.array([-1e30, 3e4], np.float32), 0.01, 0.0) == 1
    with pytest.raises(MeasurementError, match="NaN or Inf"):
        draw(np.array([0.0, np.nan], np.float32), 1.0, 0.5)
