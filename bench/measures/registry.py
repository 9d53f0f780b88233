"""The registry of measures: every folder beside this module that has a `measure.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path

from bench.measures.folders import folders, module_name
from bench.measures.measure import Measure
from bench.records.record import Record
from bench.records.run import Run

#: Measures from elsewhere.
_more: list[Measure] = []


@cache
def _found() -> tuple[Measure, ...]:
    named = (module_name(folder, "measure") for folder in folders())
    return tuple(import_module(name).MEASURE for name in named if name)


def all_measures() -> tuple[Measure, ...]:
    """Every measure, in the order in which they measure and are shown."""
    return tuple(sorted((*_found(), *_more), key=lambda m: m.order))


@contextmanager
def registered(measure: Measure) -> Iterator[Measure]:
    """A measure that lives elsewhere counts among them for the block."""
    _more.append(measure)
    try:
        yield measure
    finally:
        _more.remove(measure)


def record_types() -> dict[str, type[Record]]:
    """The types of record that measures keep, by their `kind`."""
    return {t.model_fields["kind"].default: t for m in all_measures() for t in m.records}


def load_run(path: Path) -> Run:
    """A run with what every measure keeps of it. path: its directory, or its record file.

    Raises BenchError for what is no run, and for records that this program does not know.
    """
    return Run.load(path, record_types())
