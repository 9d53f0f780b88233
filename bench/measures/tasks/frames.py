"""The tables of tasks for programs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.core.formats import MISSING
from bench.measures.frames import Frame, frame, interval
from bench.measures.tasks.columns import TASK_PAIRS, TASK_SCORES, TASKS
from bench.measures.tasks.pairs import pairs_table, task_pairs
from bench.measures.tasks.runs import judged_of, tasks_of
from bench.measures.tasks.statistics import scores_of
from bench.measures.tasks.tables import task_table
from bench.records.run import Run


def _items(run: Run) -> pd.DataFrame:
    rows = []
    for task in tasks_of(run):
        for name, record in judged_of(run, task.key).items():
            for i in record.items:
                row = {"task": task.name, "recipe": name, "item": i.item, "group": i.group}
                more = {"margin": np.nan if i.margin is None else i.margin, "ended": i.ended, "failure": i.failure}
                scores = i.scores or {"": np.nan}
                rows += [row | {"metric": m, "score": s} | more for m, s in scores.items()]
    return frame(TASKS, rows)


def _scores(run: Run) -> pd.DataFrame:
    rows = []
    for task in tasks_of(run):
        for name, s in scores_of(run, task).items():
            p = s.pairing
            row: dict[str, object] = {
                "task": task.name,
                "recipe": name,
                "metric": s.metric,
                "questions": s.n,
            }
            row |= interval("accuracy", s.accuracy)
            row |= {"lost": p.lost if p else np.nan, "won": p.won if p else np.nan}
            row |= {"p": np.nan if p is None or p.p is None else p.p}
            rows.append(
                row | interval("kept", p.kept if p else None) | interval("margin_change", p.margin if p else None)
            )
    return frame(TASK_SCORES, rows)


def _pairs(run: Run) -> pd.DataFrame:
    rows = []
    for pair in task_pairs(run):
        p = pair.pairing
        row: dict[str, object] = {"recipe": pair.recipe, "against": pair.against, "questions": pair.n}
        row |= {"right": pair.right, "right_against": pair.right_there, "lost": p.lost, "won": p.won}
        rows.append(row | {"p": np.nan if p.p is None else p.p} | interval("margin_change", p.margin))
    return frame(TASK_PAIRS, rows)


def _text(run: Run) -> pd.DataFrame:
    parts = []
    for task in tasks_of(run):
        part = task_table(run, task)
        if len(part):
            part.insert(0, "Task", task.name)
            parts.append(part)
    return pd.concat(parts, ignore_index=True).fillna(MISSING) if parts else pd.DataFrame()


FRAMES = (
    Frame("tasks", _items, _text, "tasks: run with --tasks", TASKS, "tasks"),
    Frame("task_scores", _scores, _text, "task_scores: run with --tasks", TASK_SCORES, "task_scores"),
    Frame("task_pairs", _pairs, pairs_table, "task_pairs: run with --tasks", TASK_PAIRS, "task_pairs"),
)
