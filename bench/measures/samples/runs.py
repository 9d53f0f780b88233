"""The samples of a run, read from its records."""

from __future__ import annotations

from bench.measures.samples.records import SampleRecord
from bench.records.run import Run


def _last(run: Run) -> dict[str, SampleRecord]:
    records = run.of(SampleRecord)
    return samples_for(run, records[-1].prompts, records[-1].limit) if records else {}


def samples_of(run: Run) -> dict[str, SampleRecord]:
    """Samples by file, of the prompts that were asked last."""
    return run.view(_last)


def samples_for(run: Run, prompts: tuple[tuple[str, str], ...], limit: int) -> dict[str, SampleRecord]:
    """Samples of these prompts by file, of the files as they are recorded now."""
    found = {r.recipe: r for r in run.current(SampleRecord) if (r.prompts, r.limit) == (prompts, limit)}
    return {n: found[n] for n in run.files if n in found}
