"""Measures share one store, one folder of plots and one library: their names must not meet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bench.measures.registry import all_measures, load_run

PUBLISHED = Path(__file__).parents[2] / "results" / "smollm2-135m-instruct"


def twice(names: Iterable[str]) -> list[str]:
    return [name for name, n in Counter(names).items() if n > 1]


def test_no_two_measures_use_one_name() -> None:
    measures = all_measures()
    frames = [f for m in measures for f in m.frames()]
    run = load_run(PUBLISHED)
    assert not twice(t.model_fields["kind"].default for m in measures for t in m.records)
    assert not twice(f.name for f in frames)
    assert not twice(f.attribute for f in frames if f.attribute)
    assert not twice(plot for m in measures for plot in m.plots)
    assert not twice(key for m in measures for key in m.json(run))
    assert not twice(file for m in measures for file in m.files(run))
    assert not twice(word for m in measures for word in m.quotes(run))
