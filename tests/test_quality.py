"""Scoring against numbers worked by hand and against float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.errors import MeasurementError
from bench.quality import sums_by_kind, token_nll


def test_two_tokens_worked_by_hand() -> None:
    # logits (ln 1, ln 3): probabilities 1/4 and 3/4
    logits = np.log(np.array([[1, 3], [1, 3]], np.float32))
    nll = token_nll(logits, np.array([0, 1], np.int32), threads=1)
    assert nll == pytest.approx([math.log(4), math.log(4 / 3)], abs=1e-6)
    # PPL = exp((ln 4 + ln 4/3) / 2) = sqrt(16/3)
    assert math.exp(nll.mean()) == pytest.approx(math.sqrt(16 / 3), abs=1e-6)


@pytest.mark.parametrize("tokens", [1, 2, 3, 1023])
def test_equals_float64(tokens: int) -> None:
    rng = np.random.default_rng(tokens)
    logits = rng.normal(0, 6, (tokens, 5000)).astype(np.float32) + 100
    targets = rng.integers(0, 5000, tokens).astype(np.int32)
    exact = logits.astype(np.float64)
    exact = (
        np.log(np.exp(exact - exact.max(1, keepdims=True)).sum(1)) + exact.max(1) - exact[np.arange(tokens), targets]
    )
    assert token_nll(logits, targets, threads=2) == pytest.approx(exact, abs=1e-6)


def test_large_logits_do_not_overflow() -> None:
    assert token_nll(np.array([[3e4, 0]], np.float32), np.array([1], np.int32), threads=1) == pytest.approx([3e4])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_are_refused(bad: float) -> None:
    logits = np.zeros((9, 4), np.float32)
    logits[7, 2] = bad
    with pytest.raises(MeasurementError, match="NaN or Inf"):
        token_nll(logits, np.zeros(9, np.int32), threads=2)


def test_sums_by_kind() -> None:
    sums = sums_by_kind(np.array([1.0, 2.0, 4.0]), np.array([1, 0, 1]), ("code", "prose"))
    assert (sums["code"].tokens, sums["code"].nll, sums["code"].squares) == (1, 2.0, 4.0)
    assert (sums["prose"].tokens, sums["prose"].nll, sums["prose"].squares) == (2, 5.0, 17.0)
