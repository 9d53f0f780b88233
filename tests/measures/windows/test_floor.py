"""The floor: what computing otherwise does, and what it does to verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.measures.windows.floor import Floor
from bench.measures.windows.jobs import WindowResult
from bench.measures.windows.records import FloorRecord
from bench.statistics.estimates import Estimate
from bench.statistics.verdicts import AT_FLOOR, NO_DIFFERENCE, shown, verdicts


def floor(nll: NDArray[np.float64], tokens: int) -> Floor:
    record = FloorRecord.model_construct(run="run", threads=2, ubatch=512, result=WindowResult.model_construct())
    return Floor("IQ1_S", record, nll, None, tokens)


def test_changes_without_a_common_sign_shrink_with_the_number_of_tokens() -> None:
    changes = np.random.default_rng(1).normal(0, 0.5, 1000)
    one, eight = floor(changes, 1000).of_ppl, floor(changes, 8000).of_ppl
    assert one == pytest.approx(math.expm1(0.5 / math.sqrt(1000)), rel=0.1)
    assert math.log1p(eight) == pytest.approx(math.log1p(one) / math.sqrt(8))


def test_a_shift_of_all_does_not_shrink() -> None:
    changes = np.random.default_rng(2).normal(0.2, 0.5, 1000)
    assert floor(changes, 10**6).of_ppl == pytest.approx(math.expm1(changes.mean()))
    assert floor(np.zeros(10), 10).is_none and floor(np.zeros(10), 10).of_ppl == 0


def test_a_difference_within_the_floor_is_shown_by_no_interval() -> None:
    change = Estimate(0.004, 0.003, 0.005, lambda level: (0.003, 0.005))
    assert change.excludes(0) and verdicts([change], "better", "worse") == ["worse"]
    floored = Estimate(0.004, 0.003, 0.005, change.at, floor=0.0041)
    assert floored.excludes(0) is False and floored.p_value(0) == 1 and shown([floored]) == [False]
    assert verdicts([floored], "better", "worse") == [AT_FLOOR]
    apart = Estimate(0.004, 0.003, 0.005, change.at, floor=0.0039)
    assert verdicts([apart], "better", "worse") == ["worse"], "a larger one is judged as ever"
    wide = Estimate(0.004, -0.003, 0.011, lambda level: (-0.003, 0.011), floor=0.001)
    assert verdicts([wide], "better", "worse") == [NO_DIFFERENCE]
