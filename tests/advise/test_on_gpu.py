"""Advice where there is a GPU beside the CPU: how much of a file it holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.advise.advice import on_run
from bench.advise.by_size import on_sizes
from bench.advise.choice import by_guide
from bench.advise.gpu import held, of_candidates
from bench.advise.situation import Gpu, Situation
from bench.core.formats import MISSING
from bench.measures.registry import load_run
from tests.advise.test_choice import G, eight, laptop

RESULTS = Path(__file__).parents[2] / "results"


def gpu(memory: float) -> Situation:
    n_bytes = round(memory * G)
    return replace(laptop(), gpu=Gpu("CUDA0", n_bytes, n_bytes))


def test_a_gpu_holds_what_fits_beside_keys_and_values() -> None:
    assert held(8 * G, 9 * G, Gpu("g", 10 * G, 10 * G)) == 1  # 9 GB of 10 can be used
    assert held(8 * G, 10 * G, Gpu("g", 10 * G, 10 * G)) == pytest.approx(7 / 8)
    assert held(8 * G, 10 * G, Gpu("g", 2 * G, 10 * G)) == 0


def test_the_best_file_that_a_gpu_holds_whole_is_told_beside_the_advice() -> None:
    here = gpu(6)
    rows = eight(here)
    found = of_candidates(rows, here)
    assert found is not None and found.whole is not None
    whole = {c.name: c for c in rows if found.shares[c.name] == 1}
    assert found.whole.name in whole and "Q8_0" not in whole
    assert found.whole.n_bytes == max(c.n_bytes for c in whole.values() if c.format and not c.format.superseded)
    assert found.column()[0] != "all" and found.column()[-1] == "all"
    taken = by_guide(rows, here).take
    assert taken is not None and found.lead(taken.name).startswith("CUDA0 holds ")
    assert f"holds whole is {found.whole.name}" in found.lead("Q8_0")
    assert "holds all of it" in found.lead(found.whole.name)


def test_a_gpu_that_holds_nothing_and_none_at_all() -> None:
    none = of_candidates(eight(gpu(0.5)), gpu(0.5))
    assert none is not None and none.whole is None and "It holds no file whole" in none.lead("Q4_K_M")
    assert of_candidates(eight(laptop()), laptop()) is None


def test_the_table_of_sizes_has_a_column_for_the_gpu() -> None:
    frame = on_sizes(gpu(8)).tables[0].frame
    assert frame is not None and "Whole on GPU" in frame and frame["Whole on GPU"].iloc[-1] == MISSING
    assert "Whole on GPU" not in on_sizes(laptop()).tables[0].frame  # type: ignore[operator]


def test_a_run_says_what_a_gpu_holds_of_its_files() -> None:
    run = load_run(RESULTS / "smollm2-135m-instruct-default")
    here = replace(laptop(), gpu=Gpu("CUDA0", 10**9, 10**9))
    advice = on_run(run, {}, here, same_machine=False)
    assert advice.tables[0].frame is not None and "GPU" in advice.tables[0].frame
    assert any(line.startswith("- CUDA0 holds") for line in advice.lead())
    told = advice.json()
    assert told["gpu"]["name"] == "CUDA0" and all(0 <= r["on_gpu"] <= 1 for r in told["candidates"])  # type: ignore[index, attr-defined]
