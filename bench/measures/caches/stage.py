"""The sweep's stage that scores files with other KV caches: window by window, each file first with a cache in f16, which its others are
held against."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from bench.core.errors import BenchError
from bench.core.progress import Steps
from bench.engine.reference_logits import ReferenceLogits
from bench.engine.settings import PLAIN, Cache
from bench.execute.content import Content
from bench.measures.caches.jobs import CacheJob, CacheResult
from bench.measures.caches.records import CacheRecord
from bench.measures.caches.runs import caches_in
from bench.measures.plan import File, Part, Plan
from bench.records.run import Run
from bench.records.store import RunStore

#: Logits that lie on disk at a time: the reference's, and those of a file with a cache in f16.
_KEPT = 2


@dataclass(frozen=True)
class CacheTypes:
    """Caches that all files of a plan are scored with; the first is in f16."""

    plan: Plan
    caches: tuple[Cache, ...]
    title: str = "Cache types"

    def pending(self, run: Run) -> set[str]:
        return {name for left in self._pending(run).values() for name in left}

    def progress(self, run: Run) -> tuple[int, int]:
        total = len(self.plan.names) * len(self.caches) * run.windows
        return total - sum(len(c) for left in self._pending(run).values() for c in left.values()), total

    def _pending(self, run: Run) -> dict[int, dict[str, list[Cache]]]:
        """Caches that are still to be measured, by window and file."""
        known = caches_in(run)
        found = {}
        for window in (w for w in range(run.windows) if self.plan.part.has(index=w)):
            left = {n: [c for c in self.caches if window not in known.get(n, {}).get(c, {})] for n in self.plan.names}
            if left := {n: caches for n, caches in left.items() if caches}:
                found[window] = left
        return found

    def parts(self, run: Run) -> list[Part]:
        """Window by window: all that belongs to a window shares the reference's logits."""
        return [Part(indices=(w,)) for w in self._pending(run)]

    def check_room(self) -> None:
        """Raise BenchError where the disk cannot hold the logits that others are compared with."""
        work = self.plan.work
        directory = work.executor.site.path(self._reference_logits).parent
        needed = _KEPT * ReferenceLogits.n_bytes(work.settings.logits, work.reference.info.vocabulary)
        free = shutil.disk_usage(directory).free
        if free < needed:
            raise BenchError(
                f"{directory}: logits of one window, the reference's and a file's own, need {needed / 1e6:,.0f} MB for --cache-types and "
                f"{free / 1e6:,.0f} MB are free; free some space or choose another directory with --cache"
            )

    @property
    def _reference_logits(self) -> Content:
        return self.plan.work.scratch("caches-reference.logits")

    @property
    def _own_logits(self) -> Content:
        return self.plan.work.scratch("caches-own.logits")

    def measure(self, store: RunStore, files: Mapping[str, File]) -> None:
        """Put every window of every file with every cache on record. What fails is told and stays pending."""
        plan, work = self.plan, self.plan.work
        pending = {
            w: {n: caches for n, caches in left.items() if n in files} for w, left in self._pending(store.run).items()
        }
        total = sum(len(c) for left in pending.values() for c in left.values())
        with work.scratch_files(), work.reporter.steps(self.title, total) as steps:
            for window, left in pending.items():
                if not left:
                    continue
                for name in dict.fromkeys([plan.reference, *left]):
                    if not self._of_file(store, files[name], name, window, left.get(name, []), steps):
                        break

    def _of_file(self, store: RunStore, file: File, name: str, window: int, wanted: list[Cache], steps: Steps) -> bool:
        """A window of a file with the caches that it lacks; whether others can be compared with it, where it is the reference."""
        is_reference = name == self.plan.reference
        for cache in dict.fromkeys([PLAIN, *wanted]):
            steps.name(f"window {window + 1} of {store.run.windows}, {name} with {cache.name}")
            result = self._score(file, name, window, cache)
            if result is not None and cache in wanted:
                store.append(self._record(store.run, name, window, cache, result))
            if cache in wanted:
                steps.done()
            if cache == PLAIN and (result is None or result.refused):  # nothing to compare others with
                others = [c for c in wanted if c != PLAIN]
                if result is not None:
                    for other in others:
                        store.append(self._record(store.run, name, window, other, result))
                steps.done(len(others))
                return not is_reference
        return True

    def _score(self, file: File, name: str, window: int, cache: Cache) -> CacheResult | None:
        work, is_reference = self.plan.work, name == self.plan.reference
        own = self._reference_logits if is_reference else self._own_logits
        compared = not is_reference and name not in self.plan.alone
        job = partial(CacheJob, stream=self.plan.stream.content, window=window, settings=work.settings)
        try:
            return work.executor.do(
                job(
                    model=file.content,
                    cache=cache,
                    write_logits=own if cache == PLAIN else None,
                    own_logits=None if cache == PLAIN else own,
                    reference_logits=self._reference_logits if compared else None,
                )
            )
        except BenchError as e:
            work.reporter.warn(f"{name} with a cache of {cache.name}, window {window + 1}: {e}")
            return None

    def _record(self, run: Run, name: str, window: int, cache: Cache, result: CacheResult) -> CacheRecord:
        return CacheRecord(
            run=run.header.id,
            recipe=name,
            sha256=run.files[name].sha256,
            window=window,
            cache=cache,
            result=result,
        )
