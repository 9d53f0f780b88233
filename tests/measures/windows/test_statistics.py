"""Derived statistics against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.core.machine import Activity
from bench.engine.settings import Settings
from bench.measures.windows import statistics as stats
from bench.measures.windows.jobs import KindSums, WindowResult, pack


def window(
    index: int, nll: float, *, tokens: int = 10, squares: float | None = None, seconds: float = 1.0, others: float = 0.0
) -> WindowResult:
    squares = nll**2 / tokens if squares is None else squares
    return WindowResult(
        window=index,
        by_kind={"text": KindSums(tokens=tokens, nll=nll, squares=squares)},
        seconds=seconds,
        activity=Activity(wall=seconds, own=seconds, others=others),
        generate_seconds=seconds / 10,
        load_seconds=0.5,
        peak_memory_bytes=100,
    )


def test_perplexity_and_its_token_level_error() -> None:
    # four tokens with NLL 1, 2, 3, 2: mean 2, mean of squares 4.5, variance 0.5, se of the mean sqrt(0.5 / 3)
    p = stats.perplexity([window(0, 3, tokens=2, squares=5), window(1, 5, tokens=2, squares=13)])
    assert p.ppl.value == pytest.approx(math.exp(2))
    assert p.se == pytest.approx(math.exp(2) * math.sqrt(0.5 / 3))
    assert (p.tokens, p.windows) == (4, 2)


def test_one_window_has_no_interval_and_one_token_no_error() -> None:
    p = stats.perplexity([window(0, 2, tokens=1)])
    assert p.ppl == stats.Estimate(pytest.approx(math.exp(2)), None, None)
    assert math.isnan(p.se)


def test_interval_needs_six_windows_and_holds_the_value() -> None:
    values = [20.0, 22, 19, 25, 21, 23]
    assert stats.perplexity([window(i, v) for i, v in enumerate(values[:5])]).ppl.low is None
    ppl = stats.perplexity([window(i, v) for i, v in enumerate(values)]).ppl
    assert ppl.low is not None and ppl.high is not None
    # a resampled mean lies between the smallest and the largest window
    assert math.exp(1.9) <= ppl.low < ppl.value < ppl.high <= math.exp(2.5)


@pytest.mark.parametrize("n", [6, 8, 20])
def test_intervals_cover_a_known_difference_as_often_as_they_say(n: int) -> None:
    """Windows that differ much, a paired change of known mean: 95 % of intervals hold it, within the trial's own error."""
    rng = np.random.default_rng(n)
    trials, held, held_nothing_shown = 300, 0, 0
    for _ in range(trials):
        base, change = rng.normal(30, 5, n), rng.normal(-1, 0.5, n)
        estimate = stats.perplexity_change(
            [window(i, v) for i, v in enumerate(base)], [window(i, v) for i, v in enumerate(base + change)]
        )
        held += not estimate.excludes(math.exp(-0.1) - 1)
        held_nothing_shown += not estimate.excludes(0)
    assert 0.92 <= held / trials <= 1
    assert held_nothing_shown < 0.35 * trials, "and the interval is not so wide that it shows nothing"


def test_paired_change_is_exact_where_every_window_changes_alike() -> None:
    before = [window(i, v) for i, v in enumerate([20.0, 22, 19, 25, 21, 23])]
    after = [window(i, v - 1) for i, v in enumerate([20.0, 22, 19, 25, 21, 23])]
    change = stats.perplexity_change(before, after)
    # each window's mean NLL falls by 0.1, so the interval has no width although the windows differ much
    assert (change.value, change.low, change.high) == pytest.approx((math.exp(-0.1) - 1,) * 3)
    assert change.excludes(0) is True


def test_pairing_uses_common_windows_only() -> None:
    change = stats.perplexity_change([window(0, 10), window(1, 20)], [window(1, 21), window(2, 99)])
    assert change == stats.Estimate(pytest.approx(math.exp(0.1) - 1), None, None)
    assert change.excludes(0) is None


def test_time_ratio_is_of_ratios_within_passes() -> None:
    # a pass that was slow for both does not move it, and of eight the least and the largest are cut off
    before = [window(i, 1, seconds=s) for i, s in enumerate([1, 10, 1, 2, 1, 1, 1, 1])]
    after = [window(i, 1, seconds=s) for i, s in enumerate([2, 20, 30, 4, 2, 0.2, 2, 2])]
    ratio = stats.time_ratio(before, after)
    assert ratio.value == pytest.approx(2) and ratio.low == ratio.high == pytest.approx(2)


def pieces(index: int, *seconds: float, tokens: tuple[float, ...] = ()) -> WindowResult:
    """A window that was timed in pieces."""
    times = {"pieces": pack(np.array(seconds), np.float32), "generate_steps": tokens or None}
    return window(index, 1, seconds=sum(seconds)).model_copy(update=times)


def test_time_ratio_is_of_undisturbed_times_where_windows_were_timed_in_pieces() -> None:
    # of eight passes the two fastest of each piece count: 1 and 2 against 2 and 3, wherever they are
    before = [pieces(i, 1, 2) if i in (0, 3) else pieces(i, 9, 8) for i in range(8)]
    after = [pieces(i, 2 if i > 5 else 7, 3 if i < 2 else 7) for i in range(8)]
    assert stats.time_ratio(before, after).value == pytest.approx(5 / 3)
    speed = stats.speed(before, Settings(window=12, threads=2, generate=4))
    assert speed.window.value == pytest.approx(3) and speed.prompt == pytest.approx(4) and speed.spread.median == 17
    whole = [window(i, 1, seconds=34) for i in range(8)]
    of_passes = np.exp(np.log([34 / 3, 2, 2, 2, 2, 2]).mean())
    assert stats.time_ratio(before, whole).value == pytest.approx(of_passes), "a pass is what is left to compare"


def test_of_generated_tokens_the_fastest_quarter_of_a_pass_counts() -> None:
    before = [pieces(i, 1, tokens=(0.5, *[0.02] * 2, 0.01)) for i in range(8)]
    after = [pieces(i, 1, tokens=(0.03, *[0.9] * 3)) for i in range(8)]
    assert stats.generation_ratio(before, after).value == pytest.approx(3)
    assert stats.generation_ratio([window(0, 1)], [window(0, 1, seconds=3)]).value == pytest.approx(3)
    speed = stats.speed(after, Settings(window=12, threads=2, generate=4))
    assert speed.generation is not None and speed.generation.value == pytest.approx(1 / 0.03)
    every_pass_the_same = speed.generation.low, speed.generation.high
    assert every_pass_the_same == (pytest.approx(1 / 0.03), pytest.approx(1 / 0.03))


def test_times_of_two_runs_are_undisturbed_ones_relative_to_the_references() -> None:
    # the second machine is twice as slow, and the file takes 1.5 times as long in it; load hits other passes of each
    quiet, busy = (1.0, 2.0), (9.0, 8.0)

    def run(cost: float, at_rest: tuple[int, int]) -> list[WindowResult]:
        tokens = tuple(cost * t for t in (0.01, 0.5, 0.5, 0.5))
        return [pieces(i, *(cost * s for s in (quiet if i in at_rest else busy)), tokens=tokens) for i in range(8)]

    four = run(1, (0, 1)), run(3, (2, 5)), run(4, (6, 7)), run(8, (3, 4))
    assert stats.relative_time_ratio(*four).value == pytest.approx(1.5)
    assert stats.relative_generation_ratio(*four).value == pytest.approx(1.5)
    whole = [[window(i, 1, seconds=s) for i in range(8)] for s in (1, 3, 4, 8)]
    assert stats.relative_time_ratio(*whole).value == pytest.approx(1.5), "a run that timed passes as a whole"
    assert stats.relative_generation_ratio(*whole).value == pytest.approx(1.5)
    assert math.isnan(stats.relative_time_ratio(four[0], four[1], four[2], []).value)
    mixed = four[0], whole[1], four[2], four[3]
    assert math.isnan(stats.relative_generation_ratio(*mixed).value), "these were not measured alike"


@pytest.mark.parametrize(
    ("values", "median", "half_iqr"),
    [([3.0], 3, 0), ([2.0, 4.0], 3, 0.5), ([1.0, 2.0, 3.0, 4.0], 2.5, 0.75), ([5.0, 1.0, 3.0], 3, 1)],
)
def test_spread(values: list[float], median: float, half_iqr: float) -> None:
    s = stats.spread(values)
    assert (s.median, s.half_iqr, s.n) == (median, half_iqr, len(values))


def test_speed_summary_and_disturbed_passes() -> None:
    windows = [window(0, 1, seconds=2), window(1, 1, seconds=4), window(2, 1, seconds=3, others=0.9)]
    s = stats.speed(windows, Settings(window=2048, threads=2, generate=32))
    assert s.window.value == 3 and not s.window.has_interval and s.spread.median == 3
    assert s.prompt == pytest.approx(2048 / 3)
    assert s.generation == stats.Estimate(pytest.approx(32 / 0.3)), "without single tokens there is no interval"
    # 5 % of 3 s on two threads is 0.3 s: 0.9 s of other work is too much
    assert s.disturbed == 1
