"""The errors of hidden states of a run, read from its records."""

from __future__ import annotations

from bench.measures.propagation.jobs import PropagationResult
from bench.measures.propagation.records import PropagationRecord
from bench.records.run import Run


def _by_file(run: Run) -> dict[str, dict[int, PropagationResult]]:
    found: dict[str, dict[int, PropagationResult]] = {name: {} for name in run.files}
    for r in run.current(PropagationRecord):
        found[r.recipe][r.result.window] = r.result
    return {name: dict(sorted(by_window.items())) for name, by_window in found.items()}


def propagation_of(run: Run) -> dict[str, dict[int, PropagationResult]]:
    """Errors of hidden states by file and window, of the files as they are recorded now."""
    return run.view(_by_file)
