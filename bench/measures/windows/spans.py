"""Where in the text the scored tokens of a run are: byte offsets, by which runs of other vocabularies are held against each other."""

from __future__ import annotations

import numpy as np

from bench.engine.jobs import SpansJob
from bench.execute.content import Content
from bench.execute.job import Executor
from bench.measures.windows.jobs import pack
from bench.measures.windows.records import Span, SpansRecord
from bench.records.run import Run
from bench.workbench.kept import Stream

#: A token of more bytes is none that a vocabulary of a language model has.
_LONGEST = np.iinfo(np.uint8).max


def wants_spans(run: Run) -> bool:
    """Whether a run has no such offsets on record: one of an early version, or one that begins."""
    return not run.of(SpansRecord)


def spans(run: Run, executor: Executor, model: Content, stream: Stream) -> SpansRecord:
    """The offsets of all windows that the run may score. model: whose vocabulary the stream's tokens are of."""
    if stream.source is None:  # traces are no text, and belong to one vocabulary
        return SpansRecord(run=run.header.id, windows=())
    settings, n = run.identity.settings, run.identity.windows
    job = SpansJob(model=model, stream=stream.content, source=stream.source, count=n * settings.window)
    found = executor.do(job).lengths
    lengths = np.array(found or [], np.int64)
    if found is None or lengths.max() > _LONGEST:
        return SpansRecord(run=run.header.id, windows=())
    begins = np.cumsum(lengths) - lengths
    windows = []
    for w in range(n):
        first, end = w * settings.window + settings.first_scored + 1, (w + 1) * settings.window
        windows.append(Span(window=w, first=int(begins[first]), lengths=pack(lengths[first:end], np.uint8)))
    return SpansRecord(run=run.header.id, windows=tuple(windows))
