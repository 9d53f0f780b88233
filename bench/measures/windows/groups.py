"""Groups of files that are measured side by side: as many as fit into memory together. Files that are compared stay together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.core.errors import BenchError
from bench.engine.memory import memory_needed, shape_of
from bench.engine.settings import Settings
from bench.execute.siblings import FORKS

#: Share of the memory available that files side by side may take: what they take is a forecast.
_SHARE = 0.8


def memory_beside(path: Path, settings: Settings) -> int:
    """Bytes that a process takes while it waits for its turn, its weights among them."""
    try:
        shape = shape_of(path)
    except BenchError:  # what is no model is told by whoever loads it
        return path.stat().st_size
    step = min(settings.ubatch, settings.window)
    return memory_needed(
        shape, path.stat().st_size, window=settings.window, ubatch=step, outputs=step, in_python=True
    ).needed


def groups(
    names: Sequence[str], pairs: Sequence[tuple[str, str]], needed: Mapping[str, int], available: int
) -> list[list[str]]:
    """Files in groups that fit into memory together, in their order; a file that fits beside no other is alone.

    pairs: names that are compared with each other, which stay together where both fit. needed: bytes of each; available: bytes there are.
    """
    if not FORKS:
        return [[name] for name in names]
    room = _SHARE * available
    found: list[list[str]] = []
    used = 0
    for unit in _units(names, pairs):
        parts = [unit] if sum(needed[n] for n in unit) <= room else [[n] for n in unit]
        for part in parts:
            more = sum(needed[n] for n in part)
            if found and used + more <= room:
                found[-1] += part
                used += more
            else:
                found.append(list(part))
                used = more
    return found


def _units(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    """The files, and those of a pair one after the other; of several pairs with one file the first."""
    units: list[list[str]] = []
    taken: set[str] = set()
    for name in names:
        if name in taken:
            continue
        partner = next((b if a == name else a for a, b in pairs if name in (a, b)), None)
        unit = [name]
        if partner is not None and partner in names and partner not in taken:
            unit.append(partner)
        units.append(unit)
        taken.update(unit)
    return units
