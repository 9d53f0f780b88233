"""The caches of a run, read from its records."""

from __future__ import annotations

from bench.engine.settings import Cache
from bench.measures.caches.jobs import CacheResult
from bench.measures.caches.records import CacheRecord
from bench.records.run import Run

#: Results by file, cache and window.
Found = dict[str, dict[Cache, dict[int, CacheResult]]]


def _by_file(run: Run) -> Found:
    found: Found = {name: {} for name in run.files}
    for r in run.current(CacheRecord):
        found[r.recipe].setdefault(r.cache, {})[r.window] = r.result
    return found


def caches_in(run: Run) -> Found:
    """What was measured, of the files as they are recorded now."""
    return run.view(_by_file)


def results(run: Run, name: str, cache: Cache) -> list[CacheResult] | None:
    """All windows of a file with a cache, in order; None where some are missing, or were refused."""
    found = caches_in(run)[name].get(cache, {})
    if len(found) < run.windows or any(r.refused for r in found.values()):
        return None
    return [found[w] for w in sorted(found)]


def refusal(run: Run, name: str, cache: Cache) -> str | None:
    """Why llama.cpp does not compute a file with a cache; None where it does, as far as that was tried."""
    return next((r.refused for r in caches_in(run)[name].get(cache, {}).values() if r.refused), None)
