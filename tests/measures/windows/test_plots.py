"""Plots of windows: which there are, what is on them, the front."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from bench.measures.plotting import front_of, label_points, points, save, size_axis
from bench.measures.windows import plots, statistics
from bench.records.run import Record, Run
from tests.measures.windows.test_equal_size import compared
from tests.records.test_resolution import run as run_with
from tests.support.records import file_record, run_of, window_record


def timed(speeds: dict[str, float], noise: float) -> Run:
    """A run whose files generate at these tokens a second, in passes whose speed drifts by a factor of two."""
    records: list[Record] = [file_record("F16", "Reference", 400)]
    records += [file_record(name, "Standard", 100 + i) for i, name in enumerate(speeds)]
    draw = np.random.default_rng(1)
    for i in range(8):
        drift = 1 + i / 7
        for name, speed in ({"F16": 10.0} | speeds).items():
            record = window_record(name, i, 20, 1)
            seconds = 32 / speed * drift * (1 + noise * draw.uniform(-1, 1))
            records.append(record.model_copy(update={"result": record.result.model_copy(update={"generate_seconds": seconds})}))  # fmt: skip
    return run_of(records, windows=8)


def frame(run: Run) -> pd.DataFrame:
    return plots._generation(run, pd.DataFrame({"recipe": [n for n in run.files if n != "F16"]}))


def test_the_front_holds_what_nothing_smaller_beats() -> None:
    files = pd.DataFrame({"x": [1, 2, 3, 4, 4], "kl": [5.0, 6.0, 4.0, 3.0, 2.0]}, index=list("abcde"))
    assert list(front_of(files, "kl").index) == ["a", "c", "e"]


def test_files_that_the_reference_cannot_judge_are_not_drawn_and_that_is_said() -> None:
    judged, all_drawn = run_with(), run_with("A model.")
    assert set(plots._files(judged)["recipe"]) == {"IQ3_S", "MOST-4"}
    assert set(plots._files(all_drawn)["recipe"]) == {"IQ3_S", "MOST-4", "Q4_K_M", "auto@Q4_K_M"}
    assert "Not drawn: 2 files" in plots._said(judged) and "Not drawn" not in plots._said(all_drawn)


def test_speed_is_drawn_only_where_a_file_is_shown_to_be_faster_than_another() -> None:
    assert frame(timed({"A": 20.0, "B": 20.2, "C": 20.1}, noise=0.2)).empty
    shown = frame(timed({"A": 20.0, "B": 20.2, "C": 40.0}, noise=0.02)).set_index("recipe")
    assert shown.loc["C", "speed_low"] > shown.loc["A", "speed_high"]


def test_what_a_pass_does_to_all_alike_is_no_uncertainty() -> None:
    drift = np.linspace(1, 2, 8)
    alone = statistics.side_by_side(np.array([10 * drift]))[0]
    one, two = statistics.side_by_side(np.array([10 * drift, 30 * drift]))
    assert alone.low == pytest.approx(alone.high) and one.low == pytest.approx(one.high)
    assert two.value / one.value == pytest.approx(3)


def test_every_file_has_an_uncertainty_of_its_own() -> None:
    noise = np.random.default_rng(3).normal(1, 0.05, (3, 8))
    found = statistics.side_by_side(np.array([[10.0], [20.0], [30.0]]) * noise)
    assert all(e.low is not None and e.high is not None and 1.005 < e.high / e.low < 1.3 for e in found)


def test_a_file_that_is_equal_to_the_reference_is_not_drawn_on_a_logarithmic_axis() -> None:
    files = [file_record("F16", "Reference", 400), *(file_record(n, "Standard", 100 + i) for i, n in enumerate("ABC"))]
    kl = {"F16": 0.0, "A": 0.0, "B": 0.1, "C": 0.2}
    run = run_of([*files, *(compared(n, i, 20, kl[n]) for n in kl for i in range(6))], windows=6)
    drawn = plots.draw(run)
    assert {"kl-size", "tails-size"} <= set(drawn)
    named = {t.get_text() for t in drawn["kl-size"].axes[0].texts}
    assert {"B", "C"} <= named and "A" not in named
    plt.close("all")


def test_names_hide_neither_points_nor_each_other() -> None:
    rng = np.random.default_rng(2)
    files = pd.DataFrame({
        "recipe": [f"TYPE_{i}" for i in range(12)], "family": "Standard", "bytes": rng.uniform(1e8, 2e8, 12), "kl": rng.uniform(0.1, 3, 12),
    })  # fmt: skip
    figure, axes = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
    shown = size_axis(axes, files)
    points(axes, shown, "kl")
    label_points(axes, shown, "kl")
    figure.draw_without_rendering()
    boxes = [t.get_window_extent() for t in axes.texts if t.get_text()]
    places = axes.transData.transform(shown[["x", "kl"]].to_numpy())
    assert len(boxes) == 12
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert not any(box.contains(*place) for box in boxes for place in places)
    plt.close(figure)


def test_names_are_no_mathematics(tmp_path: Path) -> None:
    """A dollar sign would begin a formula, and a formula that is none would end all plots of a run."""
    name = "auto@$x_{$"
    records = [
        file_record("F16", "Reference", 300),
        file_record("Q8_0", "Standard", 200),
        file_record(name, "Automatic", 100),
    ]
    windows = [window_record(r.recipe, w, 10 + i, 1) for i, r in enumerate(records) for w in range(6)]
    save(plots.draw(run_of([*records, *windows], windows=6))["ppl-size"], tmp_path / "plot")
    assert "$x_{$" in (tmp_path / "plot.svg").read_text(encoding="utf-8")
