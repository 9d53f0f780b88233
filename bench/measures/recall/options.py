"""Options of recall."""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.errors import BenchError
from bench.core.options import option
from bench.engine.settings import PLAIN, Cache

#: Tokens of the passage that comes twice.
PASSAGE = 64


@dataclass(frozen=True)
class Asked:
    """distances: tokens between a passage and its repetition; caches: types of the KV cache beside f16, as they are typed."""

    distances: tuple[str, ...] = option(
        (),
        "--recall",
        f"Also measure how well every file predicts a passage of {PASSAGE} tokens that stood in the context so many tokens before, for instance "
        "256,1024.",
        listed=("distance", "256,1024"),
        metavar="N[,N...]",
    )
    caches: tuple[str, ...] = option(
        (),
        "--recall-cache-types",
        "The same with the KV cache in these types too, for instance q8_0,q4_0.",
        listed=("cache type", "q8_0,q4_0"),
        metavar="NAMES",
    )


def distances_of(asked: Asked, window: int) -> list[int]:
    """The distances, shortest first. Raises BenchError for what is no distance, or longer than a window has room for."""
    if asked.caches and not asked.distances:
        raise BenchError("--recall-cache-types says how recall is measured; give --recall too")
    found = []
    for named in asked.distances:
        if not (named.isascii() and named.isdecimal() and int(named)):
            raise BenchError(f"--recall {named}: is no number of tokens; give for instance 256,1024")
        if int(named) + 2 * PASSAGE > window:
            raise BenchError(
                f"--recall {named}: with its passages of {PASSAGE} tokens it is longer than a window of {window}; give at most {window - 2 * PASSAGE}, "
                "or a larger --window"
            )
        found.append(int(named))
    return sorted(set(found))


def caches_of(asked: Asked) -> list[Cache]:
    """A cache in f16, and those that are asked for. Raises BenchError for what is no type."""
    return list(dict.fromkeys([PLAIN, *(Cache.parse(named, "--recall-cache-types") for named in asked.caches)]))
