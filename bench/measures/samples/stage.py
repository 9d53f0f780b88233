"""The sweep's stage that completes the same beginnings with every file, so that a person can see the effect of few bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.core.errors import BenchError
from bench.measures.plan import File, Part, Plan
from bench.measures.samples.jobs import SampleJob
from bench.measures.samples.records import SampleRecord
from bench.measures.samples.runs import samples_for
from bench.records.run import Run
from bench.records.store import RunStore
from bench.texts import prompts

#: Characters of the beginning of a fixed text, cut at the last blank.
_BEGINNING = 320


def sample_prompts(own: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """(name, text) of the prompts: the user's, or the beginning of a fixed text of every kind."""
    if own:
        return tuple((f"prompt {i}", text) for i, text in enumerate(own, 1))
    fixed = prompts.fixed_set(prompts.EVALUATION)
    first = {kind: next(d for d in fixed.documents if d.kind == kind) for kind in fixed.kinds}
    return tuple((kind, d.text[:_BEGINNING].rsplit(" ", 1)[0]) for kind, d in first.items())


@dataclass(frozen=True)
class Samples:
    """Completions of the same prompts by every file of a plan. prompts: (name, text) of each; limit: tokens of a completion."""

    plan: Plan
    prompts: tuple[tuple[str, str], ...]
    limit: int
    title: str = "Samples"

    def pending(self, run: Run) -> set[str]:
        return set(self._pending(run))

    def progress(self, run: Run) -> tuple[int, int]:
        total = len(self.plan.names)
        return total - len(self._pending(run)), total

    def _pending(self, run: Run) -> list[str]:
        on_record = samples_for(run, self.prompts, self.limit)
        return [n for n in self.plan.names if n not in on_record and self.plan.part.has(name=n)]

    def parts(self, run: Run) -> list[Part]:
        """File by file."""
        return [Part(names=(n,)) for n in self._pending(run)]

    def check_room(self) -> None:
        """A context of a few hundred tokens is no matter."""

    def measure(self, store: RunStore, files: Mapping[str, File]) -> None:
        """Put every file's completions on record. A failure costs one file."""
        work = self.plan.work
        names = [n for n in self._pending(store.run) if n in files]
        with work.reporter.steps(self.title, len(names)) as steps:
            for name in names:
                steps.name(name)
                job = SampleJob(
                    model=files[name].content,
                    prompts=tuple(t for _, t in self.prompts),
                    limit=self.limit,
                    threads=work.threads,
                )
                try:
                    found = work.executor.do(job, steps.share)
                except BenchError as e:
                    work.reporter.warn(f"{name}, samples: {e}")
                else:
                    store.append(
                        SampleRecord(
                            run=store.run.header.id,
                            recipe=name,
                            sha256=store.run.files[name].sha256,
                            prompts=self.prompts,
                            limit=self.limit,
                            completions=found.completions,
                        )
                    )
                steps.done()
