"""Recall in a run, read from its records."""

from __future__ import annotations

from bench.engine.settings import Cache
from bench.measures.recall.jobs import Recalled
from bench.measures.recall.records import RecallRecord
from bench.records.run import Run

#: By file and cache: passages by distance, in their order.
Found = dict[str, dict[Cache, dict[int, list[Recalled]]]]


def _by_file(run: Run) -> Found:
    found: Found = {name: {} for name in run.files}
    for r in run.current(RecallRecord):
        by_distance = found[r.recipe].setdefault(r.cache, {})
        for distance in r.distances:
            by_distance[distance] = [one for one in r.recalled if one.distance == distance]
    return {name: caches for name, caches in found.items() if caches}


def recall_of(run: Run) -> Found:
    """What was measured, of the files as they are recorded now."""
    return run.view(_by_file)
