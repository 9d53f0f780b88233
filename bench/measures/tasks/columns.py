"""Meanings of the columns of the table of tasks."""

from __future__ import annotations

from bench.measures.columns import RECIPE, Column, Columns

TASKS = Columns(
    "tasks",
    "`load_run(...).tasks`",
    "One row a file, task and question; empty for a run without `--tasks`.",
    (
        Column("task", "name of the task, as it was asked for"),
        RECIPE,
        Column("item", "name of the question within the task"),
        Column("group", "its kind, or the part of the task that it is of"),
        Column("metric", "what it is scored by"),
        Column("score", "1 for a right answer, 0 for a wrong one, or what lies between"),
        Column("margin", "how much more probable the right choice is than the best wrong one", "nats"),
        Column("ended", "whether what was written came to an end before the limit"),
        Column("failure", "why there is no score"),
    ),
    index=("recipe", "task", "item", "metric"),
)
TASK_SCORES = Columns(
    "task_scores",
    "`load_run(...).task_scores`",
    "One row a file and task; empty for a run without `--tasks`.",
    (
        Column("task", "name of the task, as it was asked for"),
        RECIPE,
        Column("metric", "what the share of right answers is called"),
        Column("questions", "questions that count: those that all files have a score for"),
        Column("accuracy", "share of right answers", "0 to 1", interval=True),
        Column("lost", "questions that only the reference has right"),
        Column("won", "questions that only this file has right"),
        Column("p", "of McNemar's exact test that both are equally likely, of this row alone"),
        Column(
            "kept", "accuracy as a share of the reference's; none where that is not better than guessing", interval=True
        ),
        Column(
            "margin_change",
            "mean change against the reference of the margin between right and best wrong choice",
            "nats",
            interval=True,
        ),
    ),
    index=("recipe", "task"),
)
TASK_PAIRS = Columns(
    "task_pairs",
    "`load_run(...).task_pairs`",
    "One row a mixed recipe, held against the standard file of the same base, or an automatic one, against the file whose size it was given; all tasks together.",
    (
        RECIPE,
        Column("against", "the file that it is held against"),
        Column(
            "questions",
            "questions that count: answered right or wrong, in tasks that the reference is better than guessing in",
        ),
        Column("right", "share of right answers of the recipe", "0 to 1"),
        Column("right_against", "the same of the other file", "0 to 1"),
        Column("lost", "questions that only the other file has right"),
        Column("won", "questions that only the recipe has right"),
        Column("p", "of McNemar's exact test that both are equally likely, of this row alone"),
        Column(
            "margin_change",
            "mean change of the margin between right and best wrong choice, against the other file",
            "nats",
            interval=True,
        ),
    ),
    index=("recipe", "against"),
)
