"""Mixed recipes against the standard file of the same type, and automatic ones against the file whose size they were given: answers
to all tasks together, paired question by question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.formats import MISSING, percent, share
from bench.measures.tasks.records import ItemScore
from bench.measures.tasks.runs import judged_of, tasks_of
from bench.measures.tasks.statistics import (
    Pairing,
    is_binary,
    margin_changes,
    metrics_of,
    paired,
    scores_of,
    tells_nothing,
    usable_of,
    values_of,
)
from bench.measures.tasks.tables import word
from bench.records.families import mixed_pairs
from bench.records.run import Run
from bench.statistics.verdicts import TOGETHER, holm, with_interval

_KEY = """\
Key
- Right, there: share of right answers of the recipe, and of the file that it is held against, over the {n} questions of {tasks}
- Lost, won: questions that only the other file has right, and only the recipe; Answers: whether these differ, by McNemar's exact test
- Δ margin: how much more the right choice's probability is above the best wrong one's than with the other file, nats, mean over questions with a choice; above 0, better
- {together}"""


@dataclass(frozen=True)
class TaskPair:
    """Two files' answers to the same questions. n: how many; right, right_there: shares of right answers of the recipe and of the other file."""

    recipe: str
    against: str
    n: int
    right: float
    right_there: float
    pairing: Pairing


@dataclass(frozen=True)
class _Answered:
    """A file's answers to a task. values: 1 for a right one, 0 for a wrong one."""

    values: NDArray[np.float64]
    items: list[ItemScore]


def _told(run: Run) -> list[tuple[str, str]]:
    """Recipes and the file that each is held against, each pair once, without controls of choices."""
    mixed = [(p.gated, p.standard) for p in mixed_pairs(run) if p.gated and p.standard]
    chosen = [(name, f.choice.against) for name, f in run.files.items() if f.choice and f.choice.against in run.files]
    pairs = dict.fromkeys([*mixed, *((name, against) for name, against in chosen if against is not None)])
    return [(name, against) for name, against in pairs if "random" not in run.files[name].family]


def tasks_compared(run: Run) -> list[str]:
    """Names of the tasks whose questions count: answered right or wrong, and by a reference that is better than guessing."""
    return list(run.view(_answers))


def _answers(run: Run) -> dict[str, dict[str, _Answered]]:
    """By task and file."""
    found = {}
    for task in tasks_of(run):
        usable, _ = usable_of({name: r.items for name, r in judged_of(run, task.key).items()})
        own = scores_of(run, task).get(run.reference or "")
        if own is None or tells_nothing(own, task.chance):
            continue
        metric = metrics_of(usable[run.reference or ""])[0]
        values = {name: values_of(items, metric) for name, items in usable.items()}
        if is_binary(*values.values()):
            found[task.name] = {name: _Answered(values[name], usable[name]) for name in usable}
    return found


def task_pairs(run: Run) -> list[TaskPair]:
    """Every recipe that has a file to be held against, where both answered all tasks that count."""
    by_task = run.view(_answers)
    found = []
    for recipe, against in _told(run):
        if not by_task or not all(recipe in of and against in of for of in by_task.values()):
            continue
        own = np.concatenate([of[recipe].values for of in by_task.values()])
        theirs = np.concatenate([of[against].values for of in by_task.values()])
        margins = np.concatenate([margin_changes(of[recipe].items, of[against].items) for of in by_task.values()])
        pairing = paired(own, theirs, margins)
        found.append(TaskPair(recipe, against, len(own), float(own.mean()), float(theirs.mean()), pairing))
    return found


def pairs_table(run: Run) -> pd.DataFrame:
    """A row a pair; empty without any."""
    pairs = task_pairs(run)
    margins = [p.pairing.margin for p in pairs]
    # answers and margins are one family: a table's verdicts hold together
    shown = holm([*(p.pairing.p for p in pairs), *(m.p_value(0) if m else None for m in margins)])
    rows = []
    for p, answers, margin, moved in zip(pairs, shown, margins, shown[len(pairs) :], strict=False):
        row = {
            "Recipe": p.recipe,
            "Against": p.against,
            "Δ Size": percent(run.files[p.recipe].n_bytes / run.files[p.against].n_bytes - 1),
            "Right": share(p.right),
            "There": share(p.right_there),
            "Lost": str(p.pairing.lost),
            "Won": str(p.pairing.won),
            "Answers": word(answers, "fewer right" if p.pairing.lost > p.pairing.won else "more right"),
        }
        if any(m is not None for m in margins):
            row["Δ margin [95 %]"] = MISSING if margin is None else with_interval(margin, "{:+.3f}".format)
            row["Margin"] = MISSING if margin is None else word(moved, "larger" if margin.value > 0 else "smaller")
        rows.append(row)
    return pd.DataFrame(rows)


def pairs_key(run: Run) -> str:
    """What the columns mean."""
    n = next(iter({p.n for p in task_pairs(run)}), 0)
    return _KEY.format(n=n, tasks=", ".join(tasks_compared(run)), together=TOGETHER)
