"""Scoring against numbers worked by hand and against float64."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import MeasurementError
from bench.engine.reference_logits import ReferenceLogits
from bench.engine.scoring import Divergence, TokenScores, score
from bench.measures.windows.score import _sums_by_kind


def token_nll(logits: np.ndarray, targets: np.ndarray, *, threads: int) -> np.ndarray:
    return score(logits, targets, threads=threads)[0].nll


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
    sums = _sums_by_kind(
        np.array([1.0, 2.0, 4.0]), None, np.array([1, 0, 1]), ("code", "prose"), [b"a ", b"x = 1", "é b".encode()]
    )
    assert (sums["code"].n_bytes, sums["code"].n_words) == (5, 3)
    assert (sums["prose"].n_bytes, sums["prose"].n_words) == (6, 3)
    assert (sums["code"].tokens, sums["code"].nll, sums["code"].squares) == (1, 2.0, 4.0)
    assert (sums["prose"].tokens, sums["prose"].nll, sums["prose"].squares) == (2, 5.0, 17.0)


def against(
    tmp_path: Path, reference: np.ndarray, logits: np.ndarray, targets: np.ndarray
) -> tuple[TokenScores, Divergence]:
    store = ReferenceLogits(tmp_path / "r.logits", reference.shape[1])
    store.append(0, reference)
    scores, divergence = score(logits, targets, threads=2, reference=store, further=True)
    assert divergence is not None
    return scores, divergence


def test_divergence_worked_by_hand(tmp_path: Path) -> None:
    # reference (1/4, 3/4), recipe (1/2, 1/2): KL = 1/4 ln(1/2) + 3/4 ln(3/2)
    reference, logits = np.log(np.array([[1, 3], [1, 3]], np.float32)), np.array([[0, 0.0], [1, -1]], np.float32)
    scores, d = against(tmp_path, reference, logits, np.array([1, 1], np.int32))
    assert d.kl[0] == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), abs=1e-6)
    assert d.p_change[0] == pytest.approx(0.5 - 0.75, abs=1e-6)
    # the second token: the reference is right, the recipe prefers the other one
    assert d.reference_correct.tolist() == [True, True]
    assert (scores.top_is_correct[1], d.same_top[1]) == (False, False)


@pytest.mark.parametrize("tokens", [1, 2, 7])
def test_divergence_equals_float64(tmp_path: Path, tokens: int) -> None:
    rng = np.random.default_rng(tokens)
    reference = rng.normal(0, 5, (tokens, 3000)).astype(np.float32)
    logits = reference + rng.normal(0, 0.3, reference.shape).astype(np.float32)
    targets = rng.integers(0, 3000, tokens).astype(np.int32)

    def log_p(z: np.ndarray) -> np.ndarray:
        z = z.astype(np.float64)
        return z - z.max(1, keepdims=True) - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True))

    p, q = log_p(reference), log_p(logits)
    rows = np.arange(tokens)
    _, d = against(tmp_path, reference, logits, targets)
    assert d.kl == pytest.approx((np.exp(p) * (p - q)).sum(1), abs=1e-6)
    assert d.p_change == pytest.approx(np.exp(q[rows, targets]) - np.exp(p[rows, targets]), abs=1e-6)
    assert d.same_top.tolist() == (p.argmax(1) == q.argmax(1)).tolist()


def test_a_model_does_not_differ_from_itself(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(0, 9, (50, 2000)).astype(np.float32)
    _, d = against(tmp_path, logits, logits, np.zeros(50, np.int32))
    assert np.abs(d.kl).max() < 1e-12 and np.abs(d.p_change).max() < 1e-12 and d.same_top.all()


def test_further_distances_by_hand(tmp_path: Path) -> None:
    # reference (1/4, 3/4), recipe (1/2, 1/2)
    reference, logits = np.log(np.array([[1, 3]], np.float32)), np.array([[0, 0]], np.float32)
    _, d = against(tmp_path, reference, logits, np.array([1], np.int32))
    assert d.further is not None
    assert d.further.reverse_kl[0] == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-6)
    assert d.further.overlap[0] == pytest.approx(0.75, abs=1e-6) and d.further.confidence[0] == pytest.approx(0.75)


def test_further_distances_equal_float64_and_change_no_digit_of_the_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    reference = rng.normal(0, 4, (37, 5000)).astype(np.float32)
    logits = reference + rng.normal(0, 1, reference.shape).astype(np.float32)
    targets = rng.integers(0, 5000, 37).astype(np.int32)
    _, d = against(tmp_path, reference, logits, targets)
    assert d.further is not None

    def probabilities(z: np.ndarray) -> np.ndarray:
        e = np.exp(z.astype(np.float64) - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    p, q = probabilities(reference), probabilities(logits)
    assert d.further.reverse_kl == pytest.approx((q * np.log(q / p)).sum(axis=1), abs=1e-6)
    assert d.further.overlap == pytest.approx(np.minimum(p, q).sum(axis=1), abs=1e-6)
    assert d.further.confidence == pytest.approx(p.max(axis=1), abs=1e-6)
    _, plain = score(logits, targets, threads=1, reference=ReferenceLogits(tmp_path / "r.logits", 5000))
    assert plain is not None and plain.further is None
    assert (plain.kl == d.kl).all() and (plain.p_change == d.p_change).all()
