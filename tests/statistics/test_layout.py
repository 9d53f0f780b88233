"""Variances of means against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.statistics.estimates import mean_of
from bench.statistics.layout import Layout


def variance(layout: Layout, values: list[float]) -> float:
    deviations = layout.contrasts[0] @ np.array(values)
    return float(deviations @ deviations)


def test_windows_of_one_kind_are_draws() -> None:
    values = [1.0, 2, 3, 4, 5, 9]
    layout = Layout.of_windows(6)
    assert layout.contrasts[1] == 5 and not layout.is_within_kinds
    assert variance(layout, values) == pytest.approx(np.var(values, ddof=1) / 6)


def test_units_of_unequal_weight_are_a_ratio_of_sums() -> None:
    weights, values = np.array([1.0, 2, 3, 1, 2, 3]), np.array([1.0, 2, 3, 4, 5, 6])
    ratio = (weights * values).sum() / weights.sum()
    by_hand = 6 / 5 * ((weights * (values - ratio)) ** 2).sum() / weights.sum() ** 2
    assert variance(Layout.of_units(weights), list(values)) == pytest.approx(by_hand)


def test_a_fixed_mixture_leaves_differences_within_kinds() -> None:
    """Two kinds of four windows each: what differs between the kinds is no uncertainty."""
    kinds = ["code", "prose"] * 4
    layout = Layout.of_parts(range(8), kinds, [100] * 8)
    assert layout.is_within_kinds and layout.contrasts[1] == pytest.approx(6)
    code, prose = [1.0, 2, 3, 4], [11.0, 13, 15, 17]
    values = [x for pair in zip(code, prose, strict=True) for x in pair]
    by_hand = sum(4 * (1 / 8) ** 2 * np.var(of, ddof=1) for of in (code, prose))
    assert variance(layout, values) == pytest.approx(by_hand)
    shifted = [x + 100 * (i % 2) for i, x in enumerate(values)]
    assert variance(layout, shifted) == pytest.approx(by_hand)
    assert variance(Layout.of_windows(8), values) > 9 * by_hand


def test_a_kind_that_comes_once_takes_the_average_of_the_others() -> None:
    kinds = ["a", "b"] * 4 + ["c"]
    layout = Layout.of_parts(range(9), kinds, [100] * 9)
    values = [1.0, 5, 2, 6, 3, 7, 4, 9, 1000]
    others = sum(4 / 81 * np.var(of, ddof=1) for of in ([1, 2, 3, 4], [5, 6, 7, 9]))
    assert variance(layout, values) == pytest.approx(others * (9 / 81) / (8 / 81))


def test_kinds_that_hardly_come_twice_are_left_to_windows() -> None:
    layout = Layout.of_parts(range(8), ["a", "b", "c", "d", "e", "f", "a", "b"], [100] * 8)
    assert not layout.is_within_kinds and layout.contrasts[1] == 7


def test_parts_of_a_window_belong_to_one_draw() -> None:
    """Six windows of two parts each, every kind in one window only."""
    windows = [w for w in range(6) for _ in range(2)]
    layout = Layout.of_parts(windows, [f"kind {i}" for i in range(12)], [50] * 12)
    values = [float(x) for x in (0, 2, 1, 3, 2, 4, 3, 5, 4, 6, 8, 10)]
    assert variance(layout, values) == pytest.approx(np.var([1, 2, 3, 4, 5, 9], ddof=1) / 6)


def test_many_windows_of_one_kind_are_joined() -> None:
    assert Layout.of_windows(19).contrasts[1] == 18
    layout = Layout.of_windows(40)
    assert layout.contrasts[1] == 9
    values = np.random.default_rng(1).normal(size=40)
    assert variance(layout, list(values)) == pytest.approx(np.var(values.reshape(10, 4).mean(axis=1), ddof=1) / 10)
    assert Layout.of_units([1.0] * 40).contrasts[1] == 39, "independent problems are not"


def test_five_windows_have_no_interval() -> None:
    assert not mean_of(np.arange(5.0), Layout.of_windows(5)).has_interval


def test_a_mean_has_students_interval_on_its_scale() -> None:
    values = np.array([1.0, 2, 3, 4, 5, 9])
    mean, se, t = 4.0, math.sqrt(np.var(values, ddof=1) / 6), 2.5705818366147395  # t, 97.5 %, 5 degrees
    plain = mean_of(values, Layout.of_windows(6))
    assert (plain.value, plain.low, plain.high) == pytest.approx((mean, mean - t * se, mean + t * se))
    log = mean_of(values, Layout.of_windows(6), "logarithm")
    assert (log.low, log.high) == pytest.approx((mean * math.exp(-t * se / mean), mean * math.exp(t * se / mean)))
    shares = mean_of(values / 10, Layout.of_windows(6), "odds")
    logit, reach = math.log(0.4 / 0.6), t * se / 10 / 0.24
    by_hand = [1 / (1 + math.exp(-(logit + sign * reach))) for sign in (-1, 1)]
    assert [shares.low, shares.high] == pytest.approx(by_hand)
