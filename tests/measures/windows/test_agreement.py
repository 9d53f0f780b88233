"""Statistics against the reference, from tokens worked by hand and from numpy written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.core.machine import Activity
from bench.measures.windows.agreement import agreement, as_llama_prints, kl_by_kind, kl_change
from bench.measures.windows.jobs import (
    REFERENCE_TOP_IS_CORRECT,
    SAME_TOP,
    TOP_IS_CORRECT,
    KindSums,
    TokenData,
    WindowResult,
    pack,
    unpack,
)

RNG = np.random.default_rng(5)


def window(
    index: int,
    nll: list[float],
    kl: list[float] | None = None,
    p_change: list[float] | None = None,
    flags: list[int] | None = None,
) -> WindowResult:
    data = TokenData(
        kind_names=("text",),
        kinds=pack(np.zeros(len(nll)), np.uint8),
        nll=pack(np.array(nll), np.float32),
        flags=pack(np.array(flags or [0] * len(nll)), np.uint8),
        kl=None if kl is None else pack(np.array(kl), np.float32),
        p_change=None if p_change is None else pack(np.array(p_change), np.float32),
    )
    sums = KindSums(tokens=len(nll), nll=sum(nll), squares=sum(x * x for x in nll))
    return WindowResult(
        window=index,
        by_kind={"text": sums},
        tokens=data,
        seconds=1,
        activity=Activity(wall=1, own=1, others=0),
        generate_seconds=None,
        load_seconds=0,
        peak_memory_bytes=1,
    )


def test_packing_round_trip() -> None:
    values = np.array([0.5, -1.25, 3e-7], np.float32)
    assert unpack(pack(values, np.float32), np.float32).tolist() == values.tolist()


def test_two_tokens_worked_by_hand() -> None:
    both, lost = TOP_IS_CORRECT | REFERENCE_TOP_IS_CORRECT | SAME_TOP, REFERENCE_TOP_IS_CORRECT
    a = agreement(
        [window(0, [1.0, 2.0])], [window(0, [1.5, 2.5], kl=[0.25, 0.75], p_change=[-0.1, -0.3], flags=[both, lost])]
    )
    assert a is not None
    assert a.kl.value == pytest.approx(0.5) and a.kl.low is None
    # two values: variance 1/16, se sqrt((1/16) / 1)
    assert a.kl_se == pytest.approx(0.25)
    assert (a.kl_min, a.kl_percentiles[50], a.kl_max) == pytest.approx((0.25, 0.5, 0.75))
    assert a.same_top.value == 0.5 and a.same_top_se == pytest.approx(0.5)
    assert a.p_change.value == pytest.approx(-0.2)
    assert a.p_change_rms.value == pytest.approx(math.sqrt(0.05))
    assert a.log_ratio.value == pytest.approx(0.5) and a.ratio.value == pytest.approx(math.exp(0.5))
    # the tokens move in step: the ratio is certain although each perplexity is not
    assert a.log_ratio_se == pytest.approx(0, abs=1e-6) and a.correlation == pytest.approx(1)
    assert a.difference.value == pytest.approx(math.exp(2) - math.exp(1.5))
    assert (a.right_to_wrong, a.wrong_to_right) == (1, 0)


def test_one_token_has_no_errors() -> None:
    a = agreement([window(0, [1.0])], [window(0, [1.5], kl=[0.25], p_change=[-0.1])])
    assert a is not None and a.kl.value == pytest.approx(0.25)
    assert math.isnan(a.kl_se) and math.isnan(a.same_top_se) and math.isnan(a.correlation)


def test_many_tokens_equal_numpy() -> None:
    base = RNG.gamma(2, 1, (8, 50))
    nll, kl, change = (
        base + RNG.normal(0.2, 0.3, base.shape),
        RNG.gamma(1, 0.1, base.shape),
        RNG.normal(0, 0.05, base.shape),
    )
    a = agreement(
        [window(i, list(b)) for i, b in enumerate(base)],
        [window(i, list(n), list(k), list(c)) for i, (n, k, c) in enumerate(zip(nll, kl, change, strict=True))],
    )
    assert a is not None
    n = base.size
    assert a.tokens == n
    assert a.kl.value == pytest.approx(kl.mean(), rel=1e-6)
    assert a.kl_se == pytest.approx(kl.std() / math.sqrt(n - 1), rel=1e-5)
    for p, value in a.kl_percentiles.items():
        assert value == pytest.approx(np.percentile(kl, p), rel=1e-5)
    for p, value in a.p_change_percentiles.items():
        assert value == pytest.approx(np.percentile(change, p), rel=1e-5)
    assert a.correlation == pytest.approx(np.corrcoef(nll.ravel(), base.ravel())[0, 1], rel=1e-5)
    # the paired error of the mean difference, written out
    assert a.log_ratio_se == pytest.approx((nll - base).std() / math.sqrt(n - 1), rel=1e-4)
    assert a.kl.low is not None and a.kl.high is not None and a.kl.low < a.kl.value < a.kl.high


def test_llama_names() -> None:
    a = agreement([window(0, [1.0, 2.0])], [window(0, [1.5, 2.5], kl=[0.25, 0.75], p_change=[-0.1, -0.3])])
    assert a is not None
    lines = as_llama_prints(a)
    for start in (
        "Mean PPL(Q)  ",
        "Cor(ln(PPL(Q)), ln(PPL(base))):",
        "Mean    KLD:   0.500000 ±   0.250000",
        "Maximum KLD:   0.750000",
        "99.9%   KLD:",
        "Median  KLD:   0.500000",
        " 0.1%   Δp:",
        "RMS Δp    : 22.361 ±",
        "Same top p:  0.000 ±",
    ):
        assert any(line.startswith(start) for line in lines), start


def test_kl_change_is_paired() -> None:
    worse = [window(i, [1.0], [0.5 + i]) for i in range(6)]
    better = [window(i, [1.0], [0.4 + i]) for i in range(6)]
    for w in (worse, better):
        w[:] = [
            x.model_copy(update={"tokens": x.tokens.model_copy(update={"p_change": pack(np.zeros(1), np.float32)})})
            for x in w
        ]  # type: ignore[union-attr]
    change = kl_change(worse, better)
    assert change is not None and change.value == pytest.approx(-0.1, abs=1e-6)
    assert change.excludes(0) is True, "every window changes alike, however much they differ"


def test_without_a_comparison_there_are_none() -> None:
    assert agreement([window(0, [1.0])], [window(0, [1.5])]) is None
    assert kl_change([window(0, [1.0])], [window(0, [1.5])]) is None


def test_divergence_by_kind_is_over_tokens() -> None:
    """Two windows, the kinds in different places and numbers of tokens: a mean over tokens, not over windows."""

    def of(index: int, names: tuple[str, ...], kinds: list[int], kl: list[float]) -> WindowResult:
        made = window(index, [1.0] * len(kl), kl, [0.0] * len(kl))
        assert made.tokens is not None
        tokens = made.tokens.model_copy(update={"kind_names": names, "kinds": pack(np.array(kinds), np.uint8)})
        return made.model_copy(update={"tokens": tokens})

    found = kl_by_kind([of(0, ("code", "prose"), [0, 1, 1], [1, 2, 4]), of(1, ("prose",), [0], [9])])
    assert found == {"code": 1, "prose": 5}
    assert kl_by_kind([window(0, [1.0])]) == {}
