"""The sweep's stage that compares hidden states: windows in turn, the reference's states on disk for one at a time."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.core.errors import MeasurementError
from bench.core.progress import Reporter
from bench.execute.jobs import PropagationJob, PropagationResult, Settings
from bench.execute.local import run_job
from bench.records.run import PropagationRecord, Run, RunStore

#: Hidden states are compared on this many tokens from the beginning of every window.
TOKENS = 512


@dataclass(frozen=True)
class HiddenStates:
    """What is to be compared: recipes against the reference on windows of a token stream."""

    reference_label: str
    recipes: tuple[str, ...]
    stream: Path
    windows: int
    settings: Settings
    cpus: tuple[int, ...]

    def pending(self, run: Run) -> dict[int, list[str]]:
        """Recipes that are still to be compared, by window."""
        missing = {w: [n for n in self.recipes if w not in run.propagation.get(n, {})] for w in range(self.windows)}
        return {w: names for w, names in missing.items() if names}


def compare_hidden_states(
    stage: HiddenStates, store: RunStore, paths: dict[str, Path], scratch: Path, reporter: Reporter
) -> None:
    """Put the errors of every recipe's hidden states on record. paths: the files that were built, the reference's among them.

    What cannot be compared is told and stays pending: the sweep before it keeps its results. Raises BenchError for an
    architecture whose states llama.cpp does not name.
    """
    pending = stage.pending(store.run)
    scratch.mkdir(parents=True, exist_ok=True)
    job = partial(
        PropagationJob,
        stream=stage.stream,
        tokens=min(TOKENS, stage.settings.window),
        settings=stage.settings,
        states=scratch / "states.npy",
    )
    cpus = list(stage.cpus)
    try:
        with reporter.steps("Hidden states", sum(map(len, pending.values()))) as steps:
            for window, wanted in pending.items():
                names = [n for n in wanted if n in paths]
                reference = [stage.reference_label] if names else []
                for name in reference + names:
                    steps.name(f"window {window + 1} of {stage.windows}, {name}")
                    model = paths[name]
                    try:
                        result = run_job(
                            job(model=model, window=window, write=name in reference), PropagationResult, cpus=cpus
                        )
                    except MeasurementError as e:
                        reporter.warn(f"{name}, window {window}: its hidden states were not compared: {e}")
                        if name in reference:
                            break
                    else:
                        if name not in reference:
                            store.append(_record(store.run, name, result, stage))
                            steps.done()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _record(run: Run, name: str, result: PropagationResult, stage: HiddenStates) -> PropagationRecord:
    tokens = min(TOKENS, stage.settings.window)
    return PropagationRecord(
        run=run.header.id, recipe=name, sha256=run.files[name].sha256, tokens=tokens, result=result
    )
