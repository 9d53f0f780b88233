"""Tables of tasks from records, as text."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from bench.core.formats import MISSING, share
from bench.measures.tasks.records import TaskIdentity
from bench.measures.tasks.runs import judged_of, tasks_of
from bench.measures.tasks.statistics import Score, scores_of, tells_nothing
from bench.records.run import Run
from bench.statistics.verdicts import FEW_WINDOWS, NO_DIFFERENCE, TOGETHER, holm, verdicts, with_interval

KEY = """\
Key
- {metric}: share of right answers, Wilson's interval{chance}; Kept: of the reference's, paired question by question
- Lost, won: questions that only the reference has right, and only this file; Answers: whether these differ, by McNemar's exact test
{margin}- {together}{more}"""
MARGIN = """\
- Δ margin: change against the reference of how much more probable the right choice is than the best wrong one, nats, mean over questions; below 0, worse. It shows what so few questions' answers cannot
"""


def task_table(run: Run, task: TaskIdentity) -> pd.DataFrame:
    """One row a file, the reference first; empty without any."""
    return score_table(scores_of(run, task))


def score_table(found: Mapping[str, Score]) -> pd.DataFrame:
    """The same of scores by file."""
    pairings = [s.pairing for s in found.values()]
    shown = holm([p.p if p else None for p in pairings])
    margins = [p.margin if p else None for p in pairings]
    words = verdicts(margins, "smaller", "larger")
    rows = []
    for (name, s), is_shown, margin, word in zip(found.items(), shown, margins, words, strict=True):
        row = {"Recipe": name, f"{s.metric} [95 %]": with_interval(s.accuracy, share)}
        row |= _paired(s, is_shown)
        if any(m is not None for m in margins):
            row["Δ margin [95 %]"] = MISSING if margin is None else with_interval(margin, "{:+.3f}".format)
            row["Margin"] = word
        row |= {m: share(v) for m, v in s.others.items()}
        if s.unended is not None:
            row["Never ended"] = str(s.unended)
        rows.append(row)
    return pd.DataFrame(rows)


def _paired(s: Score, is_shown: bool | None) -> dict[str, str]:
    p = s.pairing
    if p is None:
        return dict.fromkeys(("Kept [95 %]", "Lost", "Won", "Answers"), MISSING)
    word = NO_DIFFERENCE if is_shown is False else ("fewer right" if p.lost > p.won else "more right")
    return {
        "Kept [95 %]": with_interval(p.kept, share),
        "Lost": str(p.lost),
        "Won": str(p.won),
        "Answers": FEW_WINDOWS.replace("windows", "questions") if is_shown is None else word,
    }


def key(found: Mapping[str, Score], *, chance: float | None, settings: str) -> str:
    """What the columns of such a table mean. chance: what guessing is worth; settings: how texts are written."""
    one = next(iter(found.values()))
    more = ""
    if one.unended is not None:
        more += f"\n- Texts are written with {settings}; Never ended: those that only this limit ended, or that went round in a loop"
    if one.failed:
        more += f"\n- {one.failed} questions have no score with some file and are left out for all"
    with_margin = any(s.pairing and s.pairing.margin for s in found.values())
    return KEY.format(
        metric=one.metric,
        chance="" if chance is None else f"; guessing has {share(chance)}",
        margin=MARGIN if with_margin else "",
        together=TOGETHER,
        more=more,
    )


def summary_table(run: Run) -> pd.DataFrame:
    """Share of right answers by file and task, and their mean over tasks; empty for fewer than two tasks."""
    found = {t.name: scores_of(run, t) for t in tasks_of(run)}
    found = {name: scores for name, scores in found.items() if scores}
    if len(found) < 2:
        return pd.DataFrame()
    rows = []
    for name in run.files:
        own = {task: scores[name] for task, scores in found.items() if name in scores}
        if len(own) == len(found):
            mean = sum(s.accuracy.value for s in own.values()) / len(own)
            rows.append({"Recipe": name, "Mean": share(mean)} | {t: share(s.accuracy.value) for t, s in own.items()})
    return pd.DataFrame(rows)


def uninformative(run: Run) -> list[str]:
    """Tasks that the reference itself cannot do, in a sentence."""
    found = []
    for task in tasks_of(run):
        own = scores_of(run, task).get(run.reference or "")
        if own is not None and tells_nothing(own, task.chance):
            found.append(f"{task.name} ({share(own.accuracy.value)})")
    if not found:
        return []
    it = "it" if len(found) == 1 else "them"
    return [
        f"The reference itself is hardly better than guessing in {', '.join(found)}, so nothing can be lost there; the mean over tasks has {it} all the same"
    ]


def failures(run: Run) -> list[str]:
    """Questions without a score, a sentence a task."""
    said = []
    for task in tasks_of(run):
        failed = {
            i.item: i.failure for r in judged_of(run, task.key).values() for i in r.items if i.failure is not None
        }
        if failed:
            item, why = next(iter(failed.items()))
            said.append(f"{task.name}: {len(failed)} of {task.items} questions have no score, such as {item}: {why}.")
    return said
