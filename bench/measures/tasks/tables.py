"""Tables of tasks from records, as text."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from bench.core.formats import MISSING, share
from bench.measures.tasks.records import TaskIdentity
from bench.measures.tasks.runs import answers_of, judged_of, tasks_of
from bench.measures.tasks.statistics import Score, scores_of, tells_nothing
from bench.records.run import Run
from bench.statistics.verdicts import NO_DIFFERENCE, TOGETHER, holm, with_interval

KEY = """\
Key
- {metric}: share of right answers, Wilson's interval{chance}; Kept: of the reference's, paired question by question, where that is better than guessing
- Lost, won: questions that only the reference has right, and only this file; Answers: whether these differ, by McNemar's exact test
{margin}- {together}{more}"""
MARGIN = """\
- Δ margin: change against the reference of how much more probable the right choice is than the best wrong one, nats, mean over questions; below 0, worse. It shows what so few questions' answers cannot
"""


#: The verdict on what has too few questions, or is not right or wrong.
_NOT_JUDGED = "not judged"


def task_table(run: Run, task: TaskIdentity) -> pd.DataFrame:
    """One row a file, the reference first; empty without any."""
    return score_table(scores_of(run, task))


def score_table(found: Mapping[str, Score]) -> pd.DataFrame:
    """The same of scores by file."""
    pairings = [s.pairing for s in found.values()]
    margins = [p.margin if p else None for p in pairings]
    # answers and margins are one family: a table's verdicts hold together
    shown = holm([*(p.p if p else None for p in pairings), *(m.p_value(0) if m else None for m in margins)])
    answers, moved = shown[: len(pairings)], shown[len(pairings) :]
    rows = []
    for (name, s), is_shown, margin, has_moved in zip(found.items(), answers, margins, moved, strict=True):
        row = {"Recipe": name, f"{s.metric} [95 %]": with_interval(s.accuracy, share)}
        row |= _paired(s, is_shown)
        if any(m is not None for m in margins):
            row["Δ margin [95 %]"] = MISSING if margin is None else with_interval(margin, "{:+.3f}".format)
            row["Margin"] = MISSING if margin is None else word(has_moved, "smaller" if margin.value < 0 else "larger")
        row |= {m: share(v) for m, v in s.others.items()}
        if s.unended is not None:
            row["Never ended"] = str(s.unended)
        rows.append(row)
    return pd.DataFrame(rows)


def _paired(s: Score, is_shown: bool | None) -> dict[str, str]:
    p = s.pairing
    if p is None:
        return dict.fromkeys(("Kept [95 %]", "Lost", "Won", "Answers"), MISSING)
    return {
        "Kept [95 %]": with_interval(p.kept, share),
        "Lost": str(p.lost),
        "Won": str(p.won),
        "Answers": word(is_shown, "fewer right" if p.lost > p.won else "more right"),
    }


def word(is_shown: bool | None, difference: str) -> str:
    """What a table says of a difference: shown beside all others of the table, not shown, or nothing to judge it by."""
    return _NOT_JUDGED if is_shown is None else difference if is_shown else NO_DIFFERENCE


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
    """Share of right answers by file and task, and their mean over tasks that the reference is better than guessing in; empty for fewer than two tasks."""
    found = {t.name: scores_of(run, t) for t in tasks_of(run)}
    found = {name: scores for name, scores in found.items() if scores}
    if len(found) < 2:
        return pd.DataFrame()
    without = _uninformative(run)
    counted = [name for name in found if name not in without] or list(found)
    rows = []
    for name in run.files:
        own = {task: scores[name] for task, scores in found.items() if name in scores}
        if len(own) == len(found):
            mean = sum(own[task].accuracy.value for task in counted) / len(counted)
            rows.append({"Recipe": name, "Mean": share(mean)} | {t: share(s.accuracy.value) for t, s in own.items()})
    return pd.DataFrame(rows)


def _uninformative(run: Run) -> dict[str, Score]:
    """What the reference scores in tasks that it cannot do itself, by their name."""
    found = {}
    for task in tasks_of(run):
        own = scores_of(run, task).get(run.reference or "")
        if own is not None and tells_nothing(own, task.chance):
            found[task.name] = own
    return found


def uninformative(run: Run) -> list[str]:
    """Tasks that the reference itself cannot do, in a sentence."""
    found = _uninformative(run)
    if not found:
        return []
    listed = ", ".join(f"{name} ({share(s.accuracy.value)})" for name, s in found.items())
    left = (
        ""
        if len(found) == len(tasks_of(run))
        else f"; the mean over tasks is without {'it' if len(found) == 1 else 'them'}"
    )
    return [
        f"The reference itself is not shown to be better than guessing in {listed}, so nothing can be lost there{left}"
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
            said.append(f"{task.name}: {len(failed)} of {task.items} questions have no score, such as {item}: {why}")
        answered = answers_of(run, task.key)
        missing = [n for n in run.files if n in answered and n not in judged_of(run, task.key)]
        if missing:
            said.append(
                f"{task.name}: {', '.join(missing)} did not answer all questions, and {'has' if len(missing) == 1 else 'have'} no figure"
            )
        if task.cut:
            said.append(f"{task.name}: {task.cut} texts were longer than the context and lost their beginning")
    return said
