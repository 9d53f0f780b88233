"""The table of infill problems and conversations for programs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.core.formats import MISSING
from bench.measures.frames import Frame, frame
from bench.measures.problems import columns, tables
from bench.measures.problems.runs import problem_sets
from bench.measures.problems.sets import CHAT
from bench.records.run import Run
from bench.statistics.estimates import Estimate


def _problems(run: Run) -> pd.DataFrame:
    """One row a recipe and problem (infill, conversation); empty for a run without any."""
    rows = []
    for problems in problem_sets(run):
        scored = "assistant" if problems.assistant_only else "all"
        for name, results in tables.problem_results(run, problems).items():
            for r in results:
                s = tables.scores([r], None)
                rows.append(
                    {
                        "set": problems.name,
                        "scored": scored if problems.problem_kind == CHAT else "gap",
                        "recipe": name,
                        "problem": r.name,
                        "group": r.group,
                        "tokens": r.tokens,
                        "ppl": s.ppl.value,
                        "kl": _value(s.kl),
                        "same_top": _value(s.same_top),
                        "exact": _value(s.exact),
                        "similarity": _value(s.similarity),
                        "parses": _value(s.parses),
                        "passes": _value(s.passes),
                        "completion": r.completion,
                        "expected": r.expected,
                    }
                )
    return frame(columns.PROBLEMS, rows)


def _text(run: Run) -> pd.DataFrame:
    parts = []
    for problems in problem_sets(run):
        part = tables.problem_table(run, problems)
        part.insert(0, "Set", tables.title(problems))
        parts.append(part)
    return pd.concat(parts, ignore_index=True).fillna(MISSING) if parts else pd.DataFrame()


def _value(estimate: Estimate | None) -> float:
    return np.nan if estimate is None else estimate.value


FRAME = Frame("problems", _problems, _text, "problems: run with --kinds", columns.PROBLEMS, "problems")
