"""Verdicts of a table hold together."""

from __future__ import annotations

import numpy as np
import pytest

from bench.statistics.estimates import Estimate, mean_over_windows, share_of, trimmed_mean_of
from bench.statistics.verdicts import FEW_WINDOWS, NO_DIFFERENCE, shown, time_verdicts, verdicts


def change(mean: float, noise: float = 1.0, seed: int = 1, n: int = 8) -> Estimate:
    values = np.random.default_rng(seed).normal(size=n)
    return mean_over_windows(mean + noise * (values - values.mean()) / values.std(ddof=1))


def test_a_p_value_is_students() -> None:
    # t = 2.3646 is the 97.5 % quantile for 7 degrees of freedom
    at_the_edge = change(2.364624251592785 / np.sqrt(8))
    assert at_the_edge.p_value(0) == pytest.approx(0.05, rel=1e-6)
    assert change(0.0).p_value(0) == pytest.approx(1)
    assert Estimate(1.0).p_value(0) is None


def test_what_one_row_shows_alone_ten_rows_do_not() -> None:
    weak = change(1.0)
    assert weak.excludes(0) and shown([weak]) == [True]
    others = [change(0.0, seed=i) for i in range(9)]
    assert shown([weak, *others]) == [False] * 10
    assert shown([change(3.0), *others])[0] is True


def test_a_difference_that_is_shown_makes_room_for_the_next() -> None:
    """Holm's steps: p = 0.02 is too large for the first of three, and small enough for the last."""
    weak = change(3.0 / np.sqrt(8))
    assert 0.05 / 3 < (weak.p_value(0) or 0) < 0.05
    assert shown([weak, change(0.0), change(0.0)])[0] is False
    assert shown([weak, change(9.0), change(-9.0)]) == [True, True, True]


def test_what_cannot_be_judged_is_no_comparison() -> None:
    weak = change(1.0)
    assert shown([weak, None, Estimate(5.0)]) == [True, None, None]
    assert verdicts([weak, None, Estimate(5.0), change(0.0)], "lower", "higher") == [
        NO_DIFFERENCE, "–", FEW_WINDOWS, NO_DIFFERENCE,
    ]  # fmt: skip
    assert verdicts([weak, change(-9.0)], "lower", "higher") == ["higher", "lower"]


def test_a_difference_may_be_held_against_something_else_than_nothing() -> None:
    assert shown([change(5.0), change(5.0)], [0.0, 5.0]) == [True, False]


def test_intervals_grow_as_fewer_may_miss() -> None:
    for e in (change(1.0), trimmed_mean_of(np.array([1.1, 1.2, 1.15, 1.3, 1.25, 1.18, 1.22, 1.05])), share_of(7, 20)):
        assert e.at is not None
        widths = [high - low for low, high in map(e.at, (0.5, 0.05, 0.005, 1e-6))]
        assert widths == sorted(widths) and widths[0] < widths[-1]
        assert e.at(0.05) == (e.low, e.high)


def test_what_one_row_shows_many_rows_need_not() -> None:
    slower = trimmed_mean_of(np.array([1.01, 1.2, 1.15, 1.3, 1.25, 1.18, 1.22, 1.05]))
    same = trimmed_mean_of(np.array([0.99, 1.01, 0.98, 1.02, 0.97, 1.03, 1.0, 1.0]))
    assert time_verdicts([slower]) == ["slower"]
    assert time_verdicts([slower, *[same] * 49])[0].startswith("too noisy to say")


def test_of_tables_of_nothing_few_show_a_difference() -> None:
    rng, false, alone, tables = np.random.default_rng(5), 0, 0, 200
    for _ in range(tables):
        rows = [mean_over_windows(values) for values in rng.normal(size=(10, 8))]
        false += any(shown(rows))
        alone += any(r.excludes(0) for r in rows)
    assert alone > 0.25 * tables
    assert false < 0.09 * tables
