"""Further distances from the reference, worked by hand."""

from __future__ import annotations

import pytest

from bench.measures.windows.distances import distances_frame, distances_table, kl_by_surety, surety_table
from bench.measures.windows.jobs import KindSums, Surety
from bench.measures.windows.records import WindowRecord
from bench.measures.windows.runs import windows_of
from bench.present.output import summarize
from bench.records.run import Record, Run
from tests.measures.windows.test_agreement import window
from tests.support.records import file_record, run_of, window_record


def measured(index: int) -> WindowRecord:
    """Two tokens: one for which the reference is sure, and one for which it is not."""
    scored = window(index, [1.0, 2.0], kl=[0.2, 0.4], p_change=[-0.1, -0.3])
    sums = {"text": KindSums(tokens=2, nll=3.0, squares=5.0, reverse_kl=0.8 + 0.01 * index, overlap=1.5)}
    sure = tuple(Surety(tokens=n, kl=kl) for n, kl in ((0, 0), (1, 0.4 + 0.01 * index), (0, 0), (0, 0), (1, 0.2)))
    update = {"by_kind": sums, "by_surety": sure}
    return window_record("IQ1_S", index, 2, 1).model_copy(update={"result": scored.model_copy(update=update)})


@pytest.fixture(scope="module")
def run() -> Run:
    records: list[Record] = [file_record("F16", "Reference", 384), file_record("IQ1_S", "Standard", 60)]
    for w in range(6):
        plain = window_record("F16", w, 2, 1)
        records += [plain.model_copy(update={"result": window(w, [1.0, 1.0])}), measured(w)]
    return run_of(records, windows=6, window=6)


def test_distances_by_hand(run: Run) -> None:
    [row] = distances_frame(run).to_dict("records")
    assert row["recipe"] == "IQ1_S" and row["overlap"] == pytest.approx(0.75) and row["macro_kl"] == pytest.approx(0.3)
    assert row["reverse_kl"] == pytest.approx(0.4125) and row["reverse_kl_low"] < 0.4125 < row["reverse_kl_high"]
    assert row["tokens_surety_4"] == 0.5 and row["kl_surety_4"] == pytest.approx(0.2)
    assert row["kl_surety_1"] == pytest.approx(0.425) and row["tokens_surety_0"] == 0


def test_tables(run: Run) -> None:
    [row] = distances_table(run).to_dict("records")
    assert row["Kept drafts [95 %]"].startswith("75.0%") and row["Macro KL"] == "0.3000"
    [figures] = surety_table(run).to_dict("records")
    assert [*figures] == ["Recipe", "0-20 % (0.0% of tokens)", "20-40 % (50.0% of tokens)", "40-60 % (0.0% of tokens)", "60-80 % (0.0% of tokens)", "80-100 % (50.0% of tokens)"]  # fmt: skip
    assert figures["80-100 % (50.0% of tokens)"].startswith("0.2000") and figures["0-20 % (0.0% of tokens)"] == "–"
    assert "## More distances" in summarize(run).markdown


def test_a_run_of_an_early_version_has_none(run: Run) -> None:
    early = [r for r in run.records if r.kind == "file"]
    records: list[Record] = [*early]
    for w in range(6):
        records += [window_record("F16", w, 2, 1), window_record("IQ1_S", w, 3, 1)]
    old = run_of(records, windows=6)
    assert distances_table(old).empty and surety_table(old).empty and distances_frame(old).empty
    assert kl_by_surety(windows_of(old).results("IQ1_S") or []) == []
