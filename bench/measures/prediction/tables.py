"""The table of correlations of text with tasks."""

from __future__ import annotations

import pandas as pd

from bench.core.formats import MISSING
from bench.measures.columns import Column, Columns
from bench.measures.frames import frame, interval
from bench.measures.prediction.statistics import ANSWERS, MARGIN, Lost, OnText, correlation, lost, nearer_half, on_text
from bench.records.run import Run
from bench.statistics.estimates import Estimate
from bench.statistics.verdicts import with_interval

KEY = """\
Key
- {files} files of this run, each against the reference; {tasks}
- Tasks in which the reference itself is hardly better than guessing are left out. Answers lost: how much smaller the share of right answers is than the reference's, mean over tasks; Margin lost: how much less more probable than the best wrong choice the right one is, nats, mean over tasks of choice
- Rank correlation (Spearman's): 1 where every file that is further from the reference on the text loses more, 0 where text says nothing of tasks
{nearer}- Intervals (95 %) come from windows and questions drawn again, the files being these: other files, and other tasks, may correlate otherwise"""

PREDICTION = Columns(
    "prediction",
    "`load_run(...).prediction`",
    "One row a figure on the text and a loss in tasks: their rank correlation over the files of the run. Empty for a run with fewer than five files that have both.",
    (
        Column("on_text", "figure on the text"),
        Column("of", "which files: all, or the nearer half, which has the least divergence"),
        Column("lost", "what is lost in tasks: answers or margin"),
        Column("files", "number of files"),
        Column("tasks", "number of tasks"),
        Column("correlation", "Spearman's rank correlation", interval=True),
    ),
    index=("on_text", "of", "lost"),
)


#: Which files count.
_ALL, _NEARER = "all", "nearer half"


def _both(run: Run) -> dict[str, Lost]:
    found = {what: lost(run, what) for what in (ANSWERS, MARGIN)}
    return {what: of for what, of in found.items() if of is not None}


def _correlations(run: Run) -> list[tuple[str, str, str, Lost, Estimate]]:
    """(figure on the text, which files, what is lost, of which files and tasks, correlation)."""
    found = []
    for what, losses in _both(run).items():
        texts = on_text(run, losses.names)
        found += [(text.title, _ALL, what, losses, correlation(text, losses)) for text in texts]
        nearer = nearer_half(texts)
        if nearer is not None:
            half = losses.of(nearer)
            found += [
                (text.title, _NEARER, what, half, correlation(OnText(text.title, text.values[nearer]), half))
                for text in texts
            ]
    return found


def prediction_frame(run: Run) -> pd.DataFrame:
    """One row a figure and a loss, in numbers."""
    rows = []
    for title, which, what, losses, found in run.view(_correlations):
        row: dict[str, object] = {"on_text": title, "of": which, "lost": what}
        row |= {"files": len(losses.names), "tasks": len(losses.by_task)}
        rows.append(row | interval("correlation", found))
    return frame(PREDICTION, rows)


def prediction_table(run: Run) -> pd.DataFrame:
    """One row a figure on the text, as text; empty without any."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    several = any(which != _ALL for _, which, _, _, _ in run.view(_correlations))
    for title, which, what, _, found in run.view(_correlations):
        row = rows.setdefault((title, which), {"On the text": title} | ({"Files": which} if several else {}))
        row[f"With {what} lost [95 %]"] = with_interval(found, "{:+.2f}".format)
    return pd.DataFrame(list(rows.values())).fillna(MISSING)


def key(run: Run) -> str:
    both = _both(run)
    counts = [
        f"{what} lost in {len(of.by_task)} {'task' if len(of.by_task) == 1 else 'tasks'}" for what, of in both.items()
    ]
    losses = next(iter(both.values()))
    half = nearer_half(on_text(run, losses.names))
    nearer = "" if half is None else f"- Nearer half: only the {len(half)} files with the least KL divergence\n"
    return KEY.format(files=len(losses.names), tasks=", ".join(counts), nearer=nearer)
