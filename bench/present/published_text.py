"""The text of a window for published runs of the default model whose records are too old to hold such a text."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.core.errors import BenchError
from bench.core.files import cache_directory
from bench.core.progress import Reporter
from bench.measures.registry import load_run, record_types
from bench.measures.windows.excerpt import excerpt, wants_excerpt
from bench.measures.windows.jobs import unpack
from bench.measures.windows.records import ExcerptRecord
from bench.measures.windows.runs import windows_of
from bench.models.reference import DEFAULT
from bench.records.run import Run
from bench.records.store import RunStore, newest_time
from bench.texts.prompts import EVALUATION
from bench.workbench.options import Options
from bench.workbench.work import Work


def add_text(directory: Path) -> bool:
    """Put the text of a window on record where a run lacks it and it can be told; returns whether it was put there.

    It can be told of runs of the default model on the fixed prompts. Raises BenchError where the tokens are not those of the run.
    """
    run = load_run(directory)
    if not wants_excerpt(run) or DEFAULT.requirement not in (run.identity.model.description or ""):
        return False
    work = Work(Options(window=run.identity.settings.window, cache=cache_directory(None)), Reporter())
    found = excerpt(run, work.executor, work.model, work.stream(EVALUATION).content)
    recorded = _kinds(run, found)
    if recorded is not None and recorded != [kind for kind, n in found.kinds for _ in range(n)]:
        raise BenchError(f"{directory}: its tokens are not those of {DEFAULT.name} on the fixed prompts; report this")
    # no measurement: dated now, it would count as work of the run's last sitting
    found = found.model_copy(update={"time": newest_time(run.records)})
    with RunStore(directory, run.identity, dict(run.header.versions), record_types()) as store:
        store.append(found)
    return True


def _kinds(run: Run, found: ExcerptRecord) -> list[str] | None:
    """Kinds of prompt of the tokens of a window as its records tell them; None where they hold no tokens."""
    record = windows_of(run).by_file.get(run.reference or "", {}).get(found.window)
    data = record.result.tokens if record else None
    return None if data is None else [data.kind_names[k] for k in unpack(data.kinds, np.uint8)]
