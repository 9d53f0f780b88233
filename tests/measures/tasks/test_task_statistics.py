"""Statistics of tasks by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bench.measures.registry import load_run
from bench.measures.tasks.pairs import task_pairs, tasks_compared
from bench.measures.tasks.records import ItemScore
from bench.measures.tasks.runs import judged_of, tasks_of
from bench.measures.tasks.statistics import mcnemar, metrics_of, scores_between, tells_nothing


def items(right: list[int], margins: list[float] | None = None, failed: int | None = None) -> list[ItemScore]:
    return [
        ItemScore(
            item=str(n), group="g", scores={} if n == failed else {"acc": r, "part": 0.25},
            margin=None if margins is None else margins[n], failure="it broke" if n == failed else None,
        )
        for n, r in enumerate(right)
    ]  # fmt: skip


def test_lost_and_won_are_counted_question_by_question() -> None:
    reference, own = [1] * 12 + [0] * 8, [1] * 3 + [0] * 9 + [1] * 2 + [0] * 6
    found = scores_between({"ref": items(reference), "own": items(own)}, "ref")["own"]
    assert found.pairing is not None
    assert (found.metric, found.accuracy.value, found.others) == ("acc", 0.25, {"part": 0.25})
    assert (found.pairing.lost, found.pairing.won) == (9, 2)
    # the probability of 9 or more, or 2 or fewer, of 11 tosses
    tail = sum(math.comb(11, k) for k in range(3)) / 2**11
    assert found.pairing.p == pytest.approx(2 * tail)
    assert found.pairing.kept.value == pytest.approx(5 / 12) and found.pairing.kept.low is not None
    assert found.pairing.kept.low < 5 / 12 < (found.pairing.kept.high or 0)


def test_no_question_apart_is_no_difference() -> None:
    assert mcnemar(0, 0) == 1.0 and mcnemar(3, 3) == 1.0


def test_the_interval_of_what_is_kept_covers(  # 95 in 100, of pairs drawn with a known ratio
) -> None:
    rng, hits = np.random.default_rng(1), 0
    for _ in range(300):
        theirs = rng.random(200) < 0.6
        own = np.where(rng.random(200) < 0.85, theirs, rng.random(200) < 0.2)
        kept = scores_between({"ref": items([int(t) for t in theirs]), "own": items([int(o) for o in own])}, "ref")[
            "own"
        ].pairing
        assert kept is not None and kept.kept.low is not None and kept.kept.high is not None
        hits += kept.kept.low <= (0.85 * 0.6 + 0.15 * 0.2) / 0.6 <= kept.kept.high
    assert 0.91 <= hits / 300 <= 0.985


def test_margins_are_paired() -> None:
    rng = np.random.default_rng(2)
    base = rng.normal(1, 5, 60)
    lost = base - 0.5 + rng.normal(0, 0.1, 60)
    right = [int(m > 0) for m in base]
    found = scores_between({"ref": items(right, list(base)), "own": items(right, list(lost))}, "ref")["own"].pairing
    assert found is not None and found.margin is not None and found.margin.high is not None
    assert found.margin.value == pytest.approx(-0.5, abs=0.05) and found.margin.high < -0.4


def test_a_question_that_one_file_fails_counts_for_none() -> None:
    found = scores_between({"ref": items([1] * 10), "own": items([1] * 9 + [0], failed=9)}, "ref")
    assert {s.n for s in found.values()} == {9} and {s.failed for s in found.values()} == {1}
    assert found["own"].accuracy.value == 1.0


def test_the_tasks_first_metric_is_the_accuracy() -> None:
    assert metrics_of(items([1, 0])) == ["acc", "part"]


def test_what_lies_between_right_and_wrong_is_no_matter_of_lost_questions() -> None:
    graded = [ItemScore(item=str(n), group="g", scores={"mass": n / 20}) for n in range(20)]
    lower = [ItemScore(item=str(n), group="g", scores={"mass": n / 40}) for n in range(20)]
    found = scores_between({"ref": graded, "own": lower}, "ref")["own"]
    assert found.pairing is not None and found.pairing.p is None
    assert found.pairing.kept.value == pytest.approx(0.5) and found.accuracy.low is not None


def test_a_ratio_without_a_question_apart_has_no_interval() -> None:
    for own, value in (([1] * 10 + [0] * 10, 1.0), ([0] * 20, 0.0)):
        kept = scores_between({"ref": items([1] * 10 + [0] * 10), "own": items(own)}, "ref")["own"].pairing
        assert kept is not None and kept.kept.value == value and kept.kept.low is None


def test_a_reference_that_guesses_has_nothing_to_lose() -> None:
    guesses, knows = (
        scores_between({"ref": items(right)}, "ref")["ref"] for right in ([1, 0, 0, 0] * 10, [1, 1, 1, 0] * 10)
    )
    assert tells_nothing(guesses, 0.25) and not tells_nothing(knows, 0.25)
    assert tells_nothing(scores_between({"ref": items([1] + [0] * 39)}, "ref")["ref"], None)


def test_a_mixed_recipe_is_paired_with_the_standard_one_over_all_tasks() -> None:
    run = load_run(Path(__file__).parents[3] / "results" / "smollm2-135m-instruct")
    [pair] = [p for p in task_pairs(run) if p.recipe == "DG-IQ2_S"]
    assert len({(p.recipe, p.against) for p in task_pairs(run)}) == len(task_pairs(run)) == 10
    assert pair.against == "IQ2_S" and "own_arithmetic" not in tasks_compared(run)
    lost = won = n = 0
    margins = []
    for task in tasks_of(run):
        if task.name == "own_arithmetic":  # which the reference cannot do
            continue
        judged = judged_of(run, task.key)
        for own, other in zip(judged["DG-IQ2_S"].items, judged["IQ2_S"].items, strict=True):
            a, b = next(iter(own.scores.values())), next(iter(other.scores.values()))
            n, lost, won = n + 1, lost + (b > a), won + (a > b)
            if own.margin is not None and other.margin is not None:
                margins.append(own.margin - other.margin)
    assert (pair.n, pair.pairing.lost, pair.pairing.won) == (n, lost, won)
    assert pair.pairing.margin is not None and pair.pairing.margin.value == pytest.approx(np.mean(margins))
    assert pair.pairing.p == pytest.approx(mcnemar(lost, won))


def test_a_share_of_next_to_nothing_is_none() -> None:
    found = scores_between({"ref": items([1, 1] + [0] * 38), "own": items([1, 0, 1] + [0] * 37)}, "ref", 0.1)["own"]
    assert found.pairing is not None and math.isnan(found.pairing.kept.value) and found.pairing.lost == 1
