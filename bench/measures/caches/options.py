"""Options of cache types."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from bench.core.errors import BenchError
from bench.core.options import MEASURING, option
from bench.engine.settings import PLAIN, Cache

#: What `grid` stands for: all pairs of these.
GRID = ("f16", "q8_0", "q5_1", "q4_0")


@dataclass(frozen=True)
class Asked:
    """types: of keys and values, as they are typed; no_rotation: whether each quantized one is measured without rotation too."""

    types: tuple[str, ...] = option(
        (),
        "--cache-types",
        "Also score every file with its KV cache in these types, separated by commas, for instance q8_0,q4_0; K/V where they differ, such as "
        "q8_0/q4_0; grid: all pairs of " + ", ".join(GRID) + ".",
        listed=("cache type", "q8_0,q4_0"),
        metavar="NAMES",
    )
    no_rotation: bool = option(
        False,
        "--no-rotation",
        "Score each quantized cache also without the rotation of keys and values.",
        panel=MEASURING,
    )


def caches_of(asked: Asked) -> list[Cache]:
    """The caches to measure: f16, which the others are held against, the same without flash attention as a control, and what is asked
    for. Empty where nothing is. Raises BenchError for what is no type."""
    if not asked.types:
        if asked.no_rotation:
            raise BenchError("--no-rotation says how cache types are measured; give --cache-types too")
        return []
    found = [PLAIN, Cache(flash=False), *(cache for named in asked.types for cache in _caches(named))]
    if asked.no_rotation:
        found += [c.model_copy(update={"rotation": False}) for c in found if c.is_quantized]
    return list(dict.fromkeys(found))


def _caches(named: str) -> list[Cache]:
    if named == "grid":
        return [Cache(k=k, v=v) for k, v in product(GRID, GRID)]
    return [Cache.parse(named, "--cache-types")]
