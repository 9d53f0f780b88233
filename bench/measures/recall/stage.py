"""The sweep's stage that measures recall: file by file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.core.errors import BenchError
from bench.engine.settings import Cache
from bench.measures.plan import File, Part, Plan
from bench.measures.recall.jobs import RecallJob
from bench.measures.recall.options import PASSAGE
from bench.measures.recall.records import RecallRecord
from bench.measures.recall.runs import recall_of
from bench.records.run import Run
from bench.records.store import RunStore


@dataclass(frozen=True)
class Recall:
    """Distances and caches that all files of a plan are asked for. A window of the text gives a passage, at its beginning."""

    plan: Plan
    distances: tuple[int, ...]
    caches: tuple[Cache, ...]
    title: str = "Recall"

    def pending(self, run: Run) -> set[str]:
        return set(self._pending(run))

    def progress(self, run: Run) -> tuple[int, int]:
        total = len(self.plan.names) * len(self.caches)
        return total - sum(map(len, self._pending(run).values())), total

    def _pending(self, run: Run) -> dict[str, dict[Cache, tuple[int, ...]]]:
        """Distances that are not on record, by file and cache."""
        known, found = recall_of(run), {}
        for name in (n for n in self.plan.names if self.plan.part.has(name=n)):
            has = known.get(name, {})
            left = {c: tuple(d for d in self.distances if d not in has.get(c, {})) for c in self.caches}
            if left := {c: distances for c, distances in left.items() if distances}:
                found[name] = left
        return found

    def parts(self, run: Run) -> list[Part]:
        """File by file: nothing of another is needed."""
        return [Part(names=(n,)) for n in self._pending(run)]

    def check_room(self) -> None:
        """It takes no more than a window."""

    def measure(self, store: RunStore, files: Mapping[str, File]) -> None:
        """Put every file's passages on record. What fails is told and stays pending."""
        plan, work = self.plan, self.plan.work
        pending = {n: caches for n, caches in self._pending(store.run).items() if n in files}
        with work.reporter.steps(self.title, sum(map(len, pending.values()))) as steps:
            for name, caches in pending.items():
                for cache, distances in caches.items():
                    steps.name(name if cache.is_plain else f"{name} with {cache.name}")
                    job = RecallJob(
                        model=files[name].content,
                        stream=plan.stream.content,
                        items=store.run.windows,
                        stride=work.settings.window,
                        passage=PASSAGE,
                        distances=distances,
                        threads=work.threads,
                        cache=cache,
                    )
                    try:
                        done = work.executor.do(job, steps.share)
                    except BenchError as e:
                        work.reporter.warn(f"{name} with a cache of {cache.name}: its recall was not measured: {e}")
                    else:
                        store.append(
                            RecallRecord(
                                run=store.run.header.id,
                                recipe=name,
                                sha256=store.run.files[name].sha256,
                                cache=cache,
                                stride=job.stride,
                                passage=job.passage,
                                distances=job.distances,
                                recalled=done.recalled,
                            )
                        )
                    steps.done()
