"""Intervals that are looked at several times."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from bench.statistics.estimates import mean_of
from bench.statistics.layout import Layout
from bench.statistics.sequential import looks


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (6, (6,)),
        (8, (8,)),
        (11, (11,)),
        (12, (8, 12)),
        (18, (8, 18)),
        (64, (8, 16, 32, 64)),
        (100, (8, 16, 32, 64, 100)),
    ],
)
def test_looks_double_up_to_the_limit(limit: int, expected: tuple[int, ...]) -> None:
    assert looks(limit) == expected


def test_each_of_several_looks_has_its_part_of_what_may_be_missed() -> None:
    values = np.array([1.0, 2, 3, 4, 5, 9])
    once, thrice = (mean_of(values, Layout.of_windows(6, n)) for n in (1, 3))
    assert once.low is not None and thrice.low is not None
    wider = (thrice.value - thrice.low) / (once.value - once.low)
    assert wider == pytest.approx(t(5).ppf(1 - 0.05 / 6) / t(5).ppf(0.975))
    p, p_once = thrice.p_value(0.0), once.p_value(0.0)
    assert p is not None and p_once is not None and p == pytest.approx(3 * p_once, rel=1e-6)
