"""Text against tasks: rank correlations by hand, and on runs whose order is known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.measures.prediction.plots import draw
from bench.measures.prediction.statistics import ANSWERS, MARGIN, lost, nearer_half, on_text, spearman
from bench.measures.prediction.tables import key, prediction_frame, prediction_table
from bench.measures.tasks.records import ItemScore, TaskIdentity, TaskRecord
from bench.measures.windows.jobs import KindSums, TokenData, pack
from bench.records.run import Record, Run
from tests.support.records import file_record, run_of, window_record

FILES, WINDOWS, QUESTIONS = 8, 6, 200


def run_with_tasks(*, files: int = FILES, backwards: bool = False, windows: int = WINDOWS) -> Run:
    """Files of which each is further from the reference than the one before, and loses more in tasks, or less."""
    rng = np.random.default_rng(4)
    identity = TaskIdentity(
        name="t", asked="t", source="s", sha256="2" * 64, items=QUESTIONS, chance=0.25, settings="", key="k"
    )
    hard = rng.normal(2, 3, QUESTIONS)
    records: list[Record] = []
    for n in range(files + 1):
        name = f"F{n}" if n else "F16"
        records.append(file_record(name, "Standard" if n else "Reference", 1000 - n))
        for w in range(windows):
            kl = np.full(40, 0.1 * n) * rng.uniform(0.9, 1.1, 40)
            data = TokenData(
                kind_names=("text",), kinds=pack(np.zeros(40), np.uint8), nll=pack(np.full(40, 2.0 + 0.1 * n), np.float32),
                flags=pack(np.zeros(40), np.uint8), kl=pack(kl, np.float32) if n else None, p_change=pack(kl, np.float32) if n else None,
            )  # fmt: skip
            record = window_record(name, w, 10.0, 1.0)
            sums = {"text": KindSums(tokens=40, nll=40 * (2.0 + 0.1 * n), squares=200)}
            records.append(
                record.model_copy(update={"result": record.result.model_copy(update={"by_kind": sums, "tokens": data})})
            )
        margins = hard - 0.4 * (files - n if backwards and n else n) + rng.normal(0, 0.2, QUESTIONS)
        items = tuple(
            ItemScore(item=str(i), group="g", scores={"acc": float(m > 0)}, margin=m) for i, m in enumerate(margins)
        )
        records.append(TaskRecord(run="r", recipe=name, sha256=name, task=identity, items=items))
    return run_of(records, windows=windows)


def test_spearman_by_hand() -> None:
    assert spearman(np.array([1.0, 2, 3, 9]), np.array([0.0, 5, 6, 7])) == pytest.approx(1)
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4
    x, y = np.array([-1.5, 0, 0, 1.5]), np.array([-1.5, -0.5, 0.5, 1.5])
    assert spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 3, 4])) == pytest.approx(
        x @ y / np.sqrt((x @ x) * (y @ y))
    )
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))


@pytest.mark.parametrize("backwards", [False, True])
def test_an_order_that_is_known_is_found(backwards: bool) -> None:
    found = prediction_frame(run_with_tasks(backwards=backwards))
    kl = found[found["on_text"] == "KL divergence"].set_index("lost")
    value = kl.loc[MARGIN, "correlation"]
    assert value == pytest.approx(-1 if backwards else 1)
    assert kl.loc[MARGIN, "correlation_low"] <= value <= kl.loc[MARGIN, "correlation_high"]
    assert abs(kl.loc[ANSWERS, "correlation"]) > 0.8 and set(kl["files"]) == {FILES}


def test_it_is_shown() -> None:
    run = run_with_tasks()
    table = prediction_table(run)
    assert list(table["On the text"]) == ["KL divergence", "Perplexity", "Other top token"]
    assert "+1.00 [" in table.iloc[0]["With margin lost [95 %]"] and "8 files of this run" in key(run)
    assert set(draw(run)) == {"text-and-tasks"}


def test_what_was_lost_is_the_references_minus_the_files() -> None:
    run = run_with_tasks()
    found = lost(run, MARGIN)
    assert found is not None and found.names == tuple(f"F{n}" for n in range(1, FILES + 1))
    np.testing.assert_allclose(found.means(), 0.4 * np.arange(1, FILES + 1), atol=0.1)
    assert [t.values.shape for t in on_text(run, found.names)] == [(FILES, WINDOWS)] * 3


def test_few_files_and_few_windows() -> None:
    assert len(prediction_table(run_with_tasks(files=4))) == 0 and draw(run_with_tasks(files=4)) == {}
    few = prediction_frame(run_with_tasks(windows=3))
    assert few.iloc[0]["correlation"] == pytest.approx(1) and few["correlation_low"].isna().all()


def test_the_nearer_half_is_correlated_alone() -> None:
    run = run_with_tasks(files=10)
    assert "Nearer half" in key(run) and "the 5 files" in key(run)
    frame = prediction_frame(run)
    nearer = frame[frame["of"] == "nearer half"]
    assert set(nearer["files"]) == {5} and (nearer["correlation"].dropna() > 0.8).all()
    losses = lost(run, MARGIN)
    assert losses is not None
    half = nearer_half(on_text(run, losses.names))
    assert half is not None and [losses.names[i] for i in half] == [f"F{n}" for n in range(1, 6)]
    assert losses.of(half).means() == pytest.approx(losses.means()[:5])
    assert "Nearer half" not in key(run_with_tasks(files=8))
