"""The distance of a recipe from the reference: the statistics of `llama-perplexity --kl-divergence`, and flips.

All are taken over scored tokens, each paired with the reference's for the same token of the same window. Three kinds of
uncertainty stand side by side: intervals over parts of windows (statistics/layout.py) for comparisons, the token-level standard
errors that llama-perplexity prints (which treat tokens as independent) for comparison with its output, and none for
percentiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.measures.windows.jobs import REFERENCE_TOP_IS_CORRECT, SAME_TOP, TOP_IS_CORRECT, WindowResult, unpack
from bench.measures.windows.runs import windows_of
from bench.measures.windows.statistics import paired
from bench.records.run import Run
from bench.statistics.estimates import Estimate, exp, mean_of
from bench.statistics.layout import Layout

KL_PERCENTILES = (99.9, 99, 95, 90, 50, 10, 5, 1, 0.1)
P_CHANGE_PERCENTILES = (99.9, 99, 95, 90, 75, 50, 25, 10, 5, 1, 0.1)


@dataclass(frozen=True)
class WithError:
    """A mean over tokens with its token-level standard error, as llama-perplexity computes it."""

    value: float
    se: float


@dataclass(frozen=True)
class Agreement:
    """A recipe against the reference. KL in nats; p_change: of the correct token, as probability (0.01 is one percent).

    kl, same_top, p_change_rms, log_ratio: with intervals over parts of windows; the fields named *_se beside them, and
    those of type WithError, with token-level standard errors. right_to_wrong, wrong_to_right: flips of the most likely
    token, as numbers of tokens.
    """

    tokens: int
    kl: Estimate
    kl_se: float
    kl_max: float
    kl_min: float
    kl_percentiles: dict[float, float]
    same_top: Estimate
    same_top_se: float
    p_change: WithError
    p_change_rms: Estimate
    p_change_rms_se: float
    p_change_max: float
    p_change_min: float
    p_change_percentiles: dict[float, float]
    ppl: WithError
    reference_ppl: WithError
    log_ratio: Estimate
    log_ratio_se: float
    ratio: WithError
    difference: WithError
    correlation: float
    right_to_wrong: int
    wrong_to_right: int


@dataclass(frozen=True)
class _Tokens:
    """Unpacked scores of a window. parts: which tokens are of each kind of prompt in it, in order of their names; looks: of its run."""

    parts: dict[str, NDArray[np.bool_]]
    nll: NDArray[np.float64]
    kl: NDArray[np.float64]
    p_change: NDArray[np.float64]
    flags: NDArray[np.uint8]
    looks: int


def _unpacked(result: WindowResult) -> _Tokens | None:
    data = result.tokens
    if data is None or data.kl is None or data.p_change is None:
        return None
    kinds = unpack(data.kinds, np.uint8)
    there = sorted(np.unique(kinds), key=data.kind_names.__getitem__)
    return _Tokens(
        {data.kind_names[index]: kinds == index for index in there},
        unpack(data.nll, np.float32).astype(np.float64),
        unpack(data.kl, np.float32).astype(np.float64),
        unpack(data.p_change, np.float32).astype(np.float64),
        unpack(data.flags, np.uint8),
        result.looks,
    )


def _of_parts(tokens: Sequence[_Tokens], pick: Callable[[_Tokens], NDArray[Any]]) -> NDArray[np.float64]:
    """Mean of a value of tokens over every part of windows that is of one kind of prompt."""
    return np.array([pick(t)[part].mean() for t in tokens for part in t.parts.values()], np.float64)


def _layout(tokens: Sequence[_Tokens]) -> Layout:
    """These parts: window by window, kinds in order of their names."""
    parts = [(i, kind, part.sum()) for i, t in enumerate(tokens) for kind, part in t.parts.items()]
    looks = max((t.looks for t in tokens), default=1)
    return Layout.of_parts([i for i, _, _ in parts], [kind for _, kind, _ in parts], [n for _, _, n in parts], looks)


def mean_kl(windows: Sequence[WindowResult]) -> NDArray[np.float64] | None:
    """Mean KL divergence of every window, or None when some were not compared with the reference."""
    unpacked = [_unpacked(w) for w in windows]
    return None if not unpacked or None in unpacked else np.array([t.kl.mean() for t in unpacked if t])


def kl_of_parts(windows: Sequence[WindowResult]) -> NDArray[np.float64] | None:
    """Mean KL divergence of every part of windows that is of one kind of prompt, or None when some were not compared."""
    unpacked = [_unpacked(w) for w in windows]
    return None if not unpacked or None in unpacked else _of_parts([t for t in unpacked if t], lambda t: t.kl)


def kl_by_kind(windows: Sequence[WindowResult]) -> dict[str, float]:
    """Mean KL divergence over the scored tokens of every kind of prompt, in order of their names; empty without any."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for w in windows:
        tokens = _unpacked(w)
        if tokens is None or w.tokens is None:
            return {}
        kinds = unpack(w.tokens.kinds, np.uint8)
        for index in np.unique(kinds):
            found.setdefault(w.tokens.kind_names[index], []).append(tokens.kl[kinds == index])
    return {kind: float(np.concatenate(found[kind]).mean()) for kind in sorted(found)}


def kl_estimate(windows: Sequence[WindowResult]) -> Estimate | None:
    """Mean KL divergence over all scored tokens, in nats, or None when some windows were not compared with the reference."""
    found = [t for t in map(_unpacked, windows) if t]
    if not found or len(found) < len(windows):
        return None
    return mean_of(_of_parts(found, lambda t: t.kl), _layout(found), "logarithm")


def kl_change(before: Sequence[WindowResult], after: Sequence[WindowResult]) -> Estimate | None:
    """Mean KL of `after` minus that of `before`, paired by window."""
    windows = paired(before, after)
    a, b = ([t for t in map(_unpacked, of) if t] for of in windows)
    if not a or min(len(a), len(b)) < len(windows[0]):  # some were not compared
        return None
    return mean_of(_of_parts(b, lambda t: t.kl) - _of_parts(a, lambda t: t.kl), _layout(a))


def agreement(reference: Sequence[WindowResult], windows: Sequence[WindowResult]) -> Agreement | None:
    """Statistics of a recipe's windows against the reference's, or None when they were not compared."""
    reference, windows = paired(reference, windows)
    by_window = [_unpacked(w) for w in windows]
    reference_data = [w.tokens for w in reference]
    if not by_window or None in by_window or None in reference_data:
        return None
    found = [t for t in by_window if t is not None]
    nll, kl, p_change = (np.concatenate([getattr(t, name) for t in found]) for name in ("nll", "kl", "p_change"))
    flags = np.concatenate([t.flags for t in found])
    base = np.concatenate([unpack(d.nll, np.float32) for d in reference_data if d is not None]).astype(np.float64)
    correct, base_correct, same = (flags & bit > 0 for bit in (TOP_IS_CORRECT, REFERENCE_TOP_IS_CORRECT, SAME_TOP))

    n = len(nll)
    this, ref = _with_error(nll), _with_error(base)
    covariance = float(((nll * base).mean() - nll.mean() * base.mean()) / max(n - 1, 1))
    log_ratio_se = math.sqrt(max(this.se**2 + ref.se**2 - 2 * covariance, 0))
    ppl, ref_ppl = (WithError(exp(x.value), exp(x.value) * x.se) for x in (this, ref))
    ratio = exp(this.value - ref.value)
    difference_variance = ppl.se**2 + ref_ppl.se**2 - 2 * ppl.value * ref_ppl.value * covariance
    squares = _with_error(p_change**2)
    parts = _layout(found)
    rms = mean_of(_of_parts(found, lambda t: t.p_change**2), parts, "logarithm").map(math.sqrt)
    agree = same.mean()
    spread = math.sqrt(nll.var() * base.var())
    return Agreement(
        tokens=n,
        kl=mean_of(_of_parts(found, lambda t: t.kl), parts, "logarithm"),
        kl_se=_with_error(kl).se,
        kl_max=float(kl.max()),
        kl_min=float(kl.min()),
        kl_percentiles={p: float(np.percentile(kl, p)) for p in KL_PERCENTILES},
        same_top=mean_of(_of_parts(found, lambda t: t.flags & SAME_TOP > 0), parts, "odds"),
        same_top_se=math.sqrt(agree * (1 - agree) / (n - 1)) if n > 1 else math.nan,
        p_change=_with_error(p_change),
        p_change_rms=rms,
        p_change_rms_se=0.5 / rms.value * squares.se if rms.value else math.nan,
        p_change_max=float(p_change.max()),
        p_change_min=float(p_change.min()),
        p_change_percentiles={p: float(np.percentile(p_change, p)) for p in P_CHANGE_PERCENTILES},
        ppl=ppl,
        reference_ppl=ref_ppl,
        log_ratio=mean_of(_of_parts(found, lambda t: t.nll) - _base_of_parts(base, found), parts),
        log_ratio_se=log_ratio_se,
        ratio=WithError(ratio, ratio * log_ratio_se),
        difference=WithError(ppl.value - ref_ppl.value, math.sqrt(max(difference_variance, 0.0))),
        correlation=covariance * max(n - 1, 1) / spread if spread else math.nan,
        right_to_wrong=int((base_correct & ~correct).sum()),
        wrong_to_right=int((~base_correct & correct).sum()),
    )


def _base_of_parts(base: NDArray[np.float64], tokens: Sequence[_Tokens]) -> NDArray[np.float64]:
    """The same of the reference's values of all these tokens."""
    by_window = np.split(base, np.cumsum([len(t.nll) for t in tokens])[:-1])
    return np.array([of[part].mean() for of, t in zip(by_window, tokens, strict=True) for part in t.parts.values()])


def _with_error(values: NDArray[np.float64]) -> WithError:
    """Mean and sqrt((mean of squares - square of mean) / (n - 1)); NaN for a single value."""
    n = len(values)
    return WithError(float(values.mean()), float(math.sqrt(values.var() / (n - 1))) if n > 1 else math.nan)


def as_llama_prints(a: Agreement) -> list[str]:
    """The lines that `llama-perplexity --kl-divergence` ends with, by its names, so that published figures compare."""

    def percentile(p: float) -> str:
        return "Median" if p == 50 else f"{p:4.1f}%"

    kl = [
        f"Maximum KLD: {a.kl_max:10.6f}",
        *(f"{percentile(p):<7} KLD: {a.kl_percentiles[p]:10.6f}" for p in KL_PERCENTILES),
    ]
    change = [f"{percentile(p):<7} Δp: {100 * a.p_change_percentiles[p]:6.3f}%" for p in P_CHANGE_PERCENTILES]
    return [
        "====== Perplexity statistics ======",
        f"Mean PPL(Q)                   : {a.ppl.value:10.6f} ± {a.ppl.se:10.6f}",
        f"Mean PPL(base)                : {a.reference_ppl.value:10.6f} ± {a.reference_ppl.se:10.6f}",
        f"Cor(ln(PPL(Q)), ln(PPL(base))): {100 * a.correlation:6.2f}%",
        f"Mean ln(PPL(Q)/PPL(base))     : {a.log_ratio.value:10.6f} ± {a.log_ratio_se:10.6f}",
        f"Mean PPL(Q)/PPL(base)         : {a.ratio.value:10.6f} ± {a.ratio.se:10.6f}",
        f"Mean PPL(Q)-PPL(base)         : {a.difference.value:10.6f} ± {a.difference.se:10.6f}",
        "",
        "====== KL divergence statistics ======",
        f"Mean    KLD: {a.kl.value:10.6f} ± {a.kl_se:10.6f}",
        *kl,
        f"Minimum KLD: {a.kl_min:10.6f}",
        "",
        "====== Token probability statistics ======",
        f"Mean    Δp: {100 * a.p_change.value:6.3f} ± {100 * a.p_change.se:5.3f} %",
        f"Maximum Δp: {100 * a.p_change_max:6.3f}%",
        *change,
        f"Minimum Δp: {100 * a.p_change_min:6.3f}%",
        f"RMS Δp    : {100 * a.p_change_rms.value:6.3f} ± {100 * a.p_change_rms_se:5.3f} %",
        f"Same top p: {100 * a.same_top.value:6.3f} ± {100 * a.same_top_se:5.3f} %",
    ]


def kl_statistics(run: Run) -> str:
    """Every recipe's statistics against the reference by the names that llama-perplexity prints them with."""
    reference = windows_of(run).results(run.reference)
    parts = []
    for name in run.files:
        windows = windows_of(run).results(name)
        if reference and windows and (found := agreement(reference, windows)):
            parts.append("\n".join([f"# {name}", "", *as_llama_prints(found)]))
    return "\n\n".join(parts) + "\n"
