"""Which files are measured side by side follows from memory, and what is compared stays together."""

from __future__ import annotations

import pytest

from bench.execute.siblings import FORKS
from bench.measures.windows.groups import groups

pytestmark = pytest.mark.skipif(not FORKS, reason="each file is alone where nothing may be forked")

NAMES = ["F16", "IQ1_S", "IQ2_XXS", "DG-IQ1_S", "DG-IQ2_XXS"]
PAIRS = [("IQ1_S", "DG-IQ1_S"), ("IQ2_XXS", "DG-IQ2_XXS")]
NEEDED = {"F16": 16, "IQ1_S": 2, "IQ2_XXS": 3, "DG-IQ1_S": 2, "DG-IQ2_XXS": 3}


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (40, [["F16", "IQ1_S", "DG-IQ1_S", "IQ2_XXS", "DG-IQ2_XXS"]]),
        (25, [["F16", "IQ1_S", "DG-IQ1_S"], ["IQ2_XXS", "DG-IQ2_XXS"]]),
        (20, [["F16"], ["IQ1_S", "DG-IQ1_S", "IQ2_XXS", "DG-IQ2_XXS"]]),
        (10, [["F16"], ["IQ1_S", "DG-IQ1_S"], ["IQ2_XXS", "DG-IQ2_XXS"]]),
        (6, [["F16"], ["IQ1_S", "DG-IQ1_S"], ["IQ2_XXS"], ["DG-IQ2_XXS"]]),
        (1, [["F16"], ["IQ1_S"], ["DG-IQ1_S"], ["IQ2_XXS"], ["DG-IQ2_XXS"]]),
    ],
)
def test_as_many_as_fit(available: int, expected: list[list[str]]) -> None:
    assert groups(NAMES, PAIRS, NEEDED, available) == expected


def test_a_partner_that_is_not_measured_is_not_waited_for() -> None:
    assert groups(["IQ1_S", "IQ2_XXS"], PAIRS, NEEDED, 100) == [["IQ1_S", "IQ2_XXS"]]
    assert groups([], PAIRS, NEEDED, 100) == []
