"""The tables of caches for programs."""

from __future__ import annotations

import pandas as pd

from bench.engine.settings import Cache
from bench.measures.caches import statistics as stats
from bench.measures.caches.columns import CACHES, POSITIONS
from bench.measures.caches.jobs import Kept
from bench.measures.caches.statistics import Measured
from bench.measures.frames import Frame, frame, interval
from bench.records.run import Run

_NEEDS = "caches: run with --cache-types"


def _of_cache(name: str, cache: Cache) -> dict[str, object]:
    return {"recipe": name, "k": cache.k, "v": cache.v, "flash": cache.flash, "rotation": cache.rotation}


def rotated(kept: Kept | None) -> str:
    """What llama.cpp rotates before it keeps it."""
    return "" if kept is None else "K" * kept.rotates_k + "V" * kept.rotates_v


def caches(run: Run) -> pd.DataFrame:
    """One row a file and cache, in numbers."""
    rows = [
        {**_of_cache(name, m.cache), **_figures(m), "refused": ""}
        for name, found in stats.all_measured(run).items()
        for m in found
    ]
    rows += [{**_of_cache(name, cache), "refused": why} for name, cache, why in stats.refused(run)]
    return frame(CACHES, rows).reindex(columns=list(CACHES.names))


def _figures(m: Measured) -> dict[str, object]:
    row: dict[str, object] = {"rotated": rotated(m.kept)}
    if m.kept is not None:
        total = m.kept.k_bytes + m.kept.v_bytes
        row |= {"bytes_per_token": total / m.kept.cells, "cache_bytes": total}
    plain = m.cache.is_plain
    row |= interval("kl_own", None if plain else m.kl(stats.own))
    row |= interval("same_top_own", None if plain else m.same_top(stats.own))
    row |= {"ppl": m.ppl(), **interval("ppl_change_own", None if plain else m.ppl_change())}
    row |= interval("kl", m.kl(stats.reference))
    return row | interval("kl_change", None if plain else m.kl_change())


def positions(run: Run) -> pd.DataFrame:
    """One row a file, cache and part of the window, in numbers."""
    rows: list[dict[str, object]] = []
    for name, found in stats.all_measured(run).items():
        for m in found:
            own, reference = m.kl_by_position(stats.own), m.kl_by_position(stats.reference)
            last = run.identity.settings.first_scored
            for i, part in enumerate(m.windows[0].by_position):
                first, last = last + 1, last + part.tokens
                row = {**_of_cache(name, m.cache), "first": first, "last": last}
                row |= interval("kl_own", own[i] if own else None) | interval("kl", reference[i] if reference else None)
                rows.append(row)
    return frame(POSITIONS, rows)


FRAMES = (
    Frame("caches", caches, None, _NEEDS, CACHES, "caches"),
    Frame("cache_positions", positions, None, _NEEDS, POSITIONS, "cache_positions"),
)
