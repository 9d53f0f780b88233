"""The sweep's stage that completes the same beginnings with every file: what a person looks at to see what few bits do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.execute.local import run_job
from bench.measures.problems.jobs import SampleJob, SampleResult
from bench.records.run import Run, RunStore, SampleRecord
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
    """What is asked of every file."""

    prompts: tuple[tuple[str, str], ...]
    limit: int

    def pending(self, run: Run, names: list[str]) -> list[str]:
        on_record = run.samples_of(self.prompts, self.limit)
        return [n for n in names if n not in on_record]


def write_samples(
    samples: Samples, store: RunStore, paths: dict[str, Path], *, threads: int, cpus: list[int], reporter: Reporter
) -> None:
    """Put every file's completions on record. A failure costs one file."""
    names = samples.pending(store.run, list(paths))
    with reporter.steps("Samples", len(names)) as steps:
        for name in names:
            steps.name(name)
            job = SampleJob(
                model=paths[name], prompts=tuple(t for _, t in samples.prompts), limit=samples.limit, threads=threads
            )
            try:
                found = run_job(job, SampleResult, cpus=cpus, progress=steps.share)
            except BenchError as e:
                reporter.warn(f"{name}, samples: {e}")
            else:
                store.append(
                    SampleRecord(
                        run=store.run.header.id,
                        recipe=name,
                        sha256=store.run.files[name].sha256,
                        prompts=samples.prompts,
                        limit=samples.limit,
                        completions=found.completions,
                    )
                )
            steps.done()
