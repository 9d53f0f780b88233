"""The text of one window as tokens, so that a page can show where in a text a file differs from the reference.

Only the fixed prompts are recorded: a user's own text may be private.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np

from bench.engine.jobs import PiecesJob
from bench.execute.content import Content
from bench.execute.job import Executor
from bench.measures.windows.records import ExcerptRecord
from bench.records.run import Run
from bench.texts.prompts import EVALUATION, identify
from bench.texts.stream import TokenStream


def wants_excerpt(run: Run) -> bool:
    """Whether a run scores the fixed prompts and has no text of them on record."""
    prompts = run.identity.prompts
    if run.of(ExcerptRecord) or prompts.name != f"fixed {EVALUATION} prompts":
        return False
    return prompts.sha256 == identify(EVALUATION)[1]  # of another version of this program they may be others


def excerpt(run: Run, executor: Executor, model: Content, stream: Content) -> ExcerptRecord:
    """The scored half of the window that has the most kinds of prompts in it, the first of several such.

    So the window is chosen by the text alone, before anything is scored.
    """
    settings, found = run.identity.settings, TokenStream.load(executor.site.path(stream))
    length, begin = settings.window, settings.first_scored + 1
    scored = {window: slice(window * length + begin, (window + 1) * length) for window in range(run.windows)}
    window = max(scored, key=lambda w: (len(np.unique(found.kinds[scored[w]])), -w))
    first, end = scored[window].start, scored[window].stop
    job = PiecesJob(model=model, stream=stream, first=first, count=end - first)
    named = (found.kind_names[k] for k in found.kinds[first:end])
    kinds = tuple((kind, len(list(tokens))) for kind, tokens in groupby(named))
    return ExcerptRecord(run=run.header.id, window=window, pieces=executor.do(job).pieces, kinds=kinds)
