"""The time that something takes undisturbed is found among times that other load made longer, with an interval that holds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.statistics.layout import MIN_FOR_INTERVAL
from bench.statistics.undisturbed import undisturbed, undisturbed_ratio, undisturbed_seconds

PASSES, PIECES = 8, 300


def times(rng: np.random.Generator, cost: float = 1.0, passes: int = PASSES) -> NDArray[np.float64]:
    """Pieces of ten milliseconds, of which nearly half are slowed by up to three times, and each by a little."""
    shape = (passes, PIECES)
    slowed = 1 + rng.uniform(0, 2, shape) * (rng.uniform(size=shape) < 0.45)
    return 0.01 * cost * slowed * rng.lognormal(0, 0.02, shape)


def test_other_load_does_not_count() -> None:
    rng = np.random.default_rng(1)
    disturbed = times(rng)
    assert disturbed.sum(axis=1).mean() > 1.3 * 0.01 * PIECES
    assert undisturbed_seconds(disturbed) == pytest.approx(0.01 * PIECES, rel=0.04)


def test_the_fastest_quarter_of_the_passes_counts_piece_by_piece() -> None:
    by_hand = np.array([[1, 9], [2, 8], [3, 7], [4, 6], [5, 5], [6, 4], [7, 3], [8, 2]], np.float64)
    assert undisturbed_seconds(by_hand) == 1.5 + 2.5


def test_a_ratio_may_be_of_files_with_other_numbers_of_pieces() -> None:
    rng = np.random.default_rng(2)
    longer = np.concatenate([times(rng), times(rng)], axis=1)
    assert undisturbed_ratio(times(rng), longer).value == pytest.approx(2, rel=0.01)


def test_few_passes_have_no_interval() -> None:
    rng = np.random.default_rng(3)
    few = undisturbed(times(rng, passes=MIN_FOR_INTERVAL - 1))
    assert few.value > 0 and not few.has_interval
    assert undisturbed(times(rng, passes=MIN_FOR_INTERVAL)).has_interval
    assert undisturbed(times(rng, passes=24)).has_interval, "where there are too many ways to leave passes out"


@pytest.mark.parametrize("passes", [8, 16])
def test_intervals_hold_and_find_three_percent(passes: int) -> None:
    rng, held, found, tries = np.random.default_rng(4), 0, 0, 60
    for _ in range(tries):
        base = times(rng, passes=passes)
        held += undisturbed_ratio(base, times(rng, passes=passes)).excludes(1) is False
        found += undisturbed_ratio(base, times(rng, 1.03, passes)).excludes(1) is True
    assert held >= 0.9 * tries and found >= 0.9 * tries
