"""Statistics of tasks from records: right answers, and what a file lost and won against the reference, paired question by question."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.measures.tasks.records import ItemScore, TaskIdentity
from bench.measures.tasks.runs import judged_of
from bench.records.run import Run
from bench.statistics.estimates import Estimate, estimate, ratio_of_sums, share_of, student
from bench.statistics.layout import MIN_FOR_INTERVAL


@dataclass(frozen=True)
class Pairing:
    """A file's answers against the reference's to the same questions.

    lost, won: questions that only the reference, and only this file, has right; p: of McNemar's exact test that both are equally likely; kept: share of the reference's
    accuracy, not a number where that tells nothing; margin: mean change of how much more probable the right choice is than the best wrong one, nats, None where nothing is chosen.
    """

    lost: int
    won: int
    p: float | None
    kept: Estimate
    margin: Estimate | None


@dataclass(frozen=True)
class Score:
    """What a file scored in a task. n: questions that were judged; metric: that the accuracy is by, the task's first; others: means of the rest; unended: texts that only the
    limit ended, None where none was written; failed: questions without a score; pairing: None for the reference."""

    n: int
    metric: str
    accuracy: Estimate
    others: Mapping[str, float]
    unended: int | None
    failed: int
    pairing: Pairing | None


def metrics_of(items: Sequence[ItemScore]) -> list[str]:
    """Names of what questions are scored by, in the task's order: the first is that of the accuracy."""
    return list(dict.fromkeys(m for i in items for m in i.scores))


def scores_between(
    found: Mapping[str, Sequence[ItemScore]], reference: str | None, chance: float | None = None
) -> dict[str, Score]:
    """Scores of files that answered the same questions, of which guessing has the share `chance` right. Questions that any file failed are left out for all, so that
    figures compare."""
    usable, failed = usable_of(found)
    metrics = next((metrics_of(items) for items in usable.values() if items), [])
    if not metrics:
        return {}
    base = usable.get(reference or "")
    scores = {
        name: _score(items, metrics, failed, None if name == reference else base) for name, items in usable.items()
    }
    if reference in scores and tells_nothing(scores[reference], chance):
        return {name: _without_kept(s) for name, s in scores.items()}
    return scores


def usable_of(found: Mapping[str, Sequence[ItemScore]]) -> tuple[dict[str, list[ItemScore]], int]:
    """Answers to the questions that no file failed, and how many it was that some file did."""
    failed = {i.item for items in found.values() for i in items if i.failure is not None}
    return {name: [i for i in items if i.item not in failed] for name, items in found.items()}, len(failed)


def scores_of(run: Run, task: TaskIdentity) -> dict[str, Score]:
    """By file, of those that have answered all; the reference first."""
    known, asked = run.view(_known), (task.key, task.chance)
    if asked not in known:  # several tables and pages ask for it
        answered = {name: r.items for name, r in judged_of(run, task.key).items()}
        known[asked] = scores_between(answered, run.reference, task.chance)
    return known[asked]


def _known(_: Run) -> dict[tuple[str, float | None], dict[str, Score]]:
    """Scores of a run by task, filled as they are asked for."""
    return {}


def tells_nothing(score: Score, chance: float | None) -> bool:
    """Whether the reference's score leaves nothing to lose: it is not shown to be above guessing, or where nothing is guessed nearly all is wrong."""
    low = score.accuracy.low if score.accuracy.low is not None else score.accuracy.value
    return low <= (_LEAST if chance is None else chance)


#: Share of right answers that a reference must be shown to have where guessing has none.
_LEAST = 0.05


def _without_kept(score: Score) -> Score:
    """The same without a share of next to nothing, which may come out at anything."""
    pairing = score.pairing
    return score if pairing is None else replace(score, pairing=replace(pairing, kept=Estimate(math.nan)))


def _score(items: list[ItemScore], metrics: list[str], failed: int, reference: list[ItemScore] | None) -> Score:
    right = values_of(items, metrics[0])
    ended = [i.ended for i in items if i.ended is not None]
    return Score(
        n=len(items),
        metric=metrics[0],
        accuracy=_share(right),
        others={m: float(values_of(items, m).mean()) for m in metrics[1:]},
        unended=sum(not e for e in ended) if ended else None,
        failed=failed,
        pairing=None if reference is None else _pairing(items, reference, metrics[0]),
    )


def values_of(items: Sequence[ItemScore], metric: str) -> NDArray[np.float64]:
    """A metric's values, 0 where it has none."""
    return np.array([i.scores.get(metric, 0.0) for i in items])


def is_binary(*values: NDArray[np.float64]) -> bool:
    """Whether questions are right or wrong, and nothing between."""
    return all(np.isin(v, (0, 1)).all() for v in values)


def _share(values: NDArray[np.float64]) -> Estimate:
    if is_binary(values):
        return share_of(int(values.sum()), len(values))
    return ratio_of_sums(values, np.ones(len(values)), "odds")


def _pairing(items: list[ItemScore], reference: list[ItemScore], metric: str) -> Pairing:
    return paired(values_of(items, metric), values_of(reference, metric), margin_changes(items, reference))


def margin_changes(items: Sequence[ItemScore], reference: Sequence[ItemScore]) -> NDArray[np.float64]:
    """How much larger each question's margin is, nats, of those that have one."""
    pairs = [(i.margin, r.margin) for i, r in zip(items, reference, strict=True)]
    return np.array([a - b for a, b in pairs if a is not None and b is not None])


def paired(own: NDArray[np.float64], theirs: NDArray[np.float64], margins: NDArray[np.float64]) -> Pairing:
    """Scores against others to the same questions, with the changes of margin where something is chosen."""
    lost, won = int((theirs > own).sum()), int((own > theirs).sum())
    return Pairing(
        lost=lost,
        won=won,
        p=mcnemar(lost, won) if len(own) >= MIN_FOR_INTERVAL and is_binary(own, theirs) else None,
        kept=_kept(own, theirs),
        margin=ratio_of_sums(margins, np.ones(len(margins))) if len(margins) else None,
    )


def mcnemar(lost: int, won: int) -> float:
    """The exact test of McNemar (Note on the sampling error of the difference between correlated proportions or percentages, Psychometrika 12:2, 1947): of
    questions that one of two has right, as many are the one's as the other's."""
    from scipy.stats import binomtest  # a second to import

    return float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0


def _kept(own: NDArray[np.float64], theirs: NDArray[np.float64]) -> Estimate:
    """The ratio of two paired means, with its interval on the logarithm by the delta method."""
    n, base = len(own), float(theirs.mean()) if len(theirs) else 0.0
    if not base:
        return Estimate(math.nan)
    value = float(own.mean()) / base
    # without a question apart, or with none that is right, the data do not say how sure the ratio is
    if n < MIN_FOR_INTERVAL or not own.any() or (own == theirs).all():
        return Estimate(value)
    se = float((own - value * theirs).std(ddof=1)) / (math.sqrt(n) * base)
    return estimate(value, student(value, se, n - 1, "logarithm"))
