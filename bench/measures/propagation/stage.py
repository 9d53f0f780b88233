"""The sweep's stage that compares hidden states: windows in turn, the reference's states on disk for one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from bench.core.errors import MeasurementError
from bench.measures.plan import File, Part, Plan
from bench.measures.propagation.jobs import PropagationJob, PropagationResult
from bench.measures.propagation.records import PropagationRecord
from bench.measures.propagation.runs import propagation_of
from bench.records.run import Run
from bench.records.store import RunStore

#: Hidden states are compared on this many tokens from the beginning of every window.
TOKENS = 512


@dataclass(frozen=True)
class HiddenStates:
    """Hidden states of a plan's recipes, compared with the reference's on the same windows."""

    plan: Plan
    title: str = "Hidden states"

    @property
    def _recipes(self) -> list[str]:
        return [n for n in self.plan.names if n != self.plan.reference]

    @property
    def _tokens(self) -> int:
        return min(TOKENS, self.plan.work.settings.window)

    def pending(self, run: Run) -> set[str]:
        """Recipes that are still to be compared on a window."""
        return {name for names in self._pending(run).values() for name in names}

    def progress(self, run: Run) -> tuple[int, int]:
        total = len(self._recipes) * run.windows
        return total - sum(map(len, self._pending(run).values())), total

    def _pending(self, run: Run) -> dict[int, list[str]]:
        """Recipes that are still to be compared, by window."""
        known = propagation_of(run)
        windows = (w for w in range(run.windows) if self.plan.part.has(index=w))
        missing = {w: [n for n in self._recipes if w not in known.get(n, {})] for w in windows}
        return {w: names for w, names in missing.items() if names}

    def parts(self, run: Run) -> list[Part]:
        """Window by window: recipes of a window share the reference's states."""
        return [Part(indices=(w,)) for w in self._pending(run)]

    def check_room(self) -> None:
        """States of a window are small beside its logits."""

    def measure(self, store: RunStore, files: Mapping[str, File]) -> None:
        """Put the errors of every recipe's hidden states on record. What cannot be compared is told and stays pending.

        Raises BenchError where llama.cpp does not name the states of the architecture.
        """
        pending = self._pending(store.run)
        plan, work = self.plan, self.plan.work
        job = partial(
            PropagationJob,
            stream=plan.stream.content,
            tokens=self._tokens,
            settings=work.settings,
            states=work.scratch("states.npy"),
        )
        with work.scratch_files(), work.reporter.steps(self.title, sum(map(len, pending.values()))) as steps:
            for window, wanted in pending.items():
                names = [n for n in wanted if n in files]
                reference = [plan.reference] if names else []
                for name in reference + names:
                    steps.name(f"window {window + 1} of {store.run.windows}, {name}")
                    try:
                        result = work.executor.do(
                            job(model=files[name].content, window=window, write=name in reference)
                        )
                    except MeasurementError as e:
                        work.reporter.warn(f"{name}, window {window}: its hidden states were not compared: {e}")
                        if name in reference:
                            break
                    else:
                        if name not in reference:
                            store.append(self._record(store.run, name, result))
                            steps.done()

    def _record(self, run: Run, name: str, result: PropagationResult) -> PropagationRecord:
        return PropagationRecord(
            run=run.header.id, recipe=name, sha256=run.files[name].sha256, tokens=self._tokens, result=result
        )
