"""Figures by position in the window, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.measures.windows.jobs import KindSums, TokenData, pack
from bench.measures.windows.plots import draw
from bench.measures.windows.positions import by_position, positions_frame, positions_table
from bench.measures.windows.records import WindowRecord
from bench.records.run import Record, Run
from tests.support.records import file_record, run_of, window_record

#: Scored tokens of a window of 34.
TOKENS = 16


def scored(name: str, index: int, kl: list[float] | None) -> WindowRecord:
    record = window_record(name, index, math.e, 1)
    nll = np.ones(TOKENS) + (0 if kl is None else np.array(kl))
    data = TokenData(
        kind_names=("text",),
        kinds=pack(np.zeros(TOKENS), np.uint8),
        nll=pack(nll, np.float32),
        flags=pack(np.zeros(TOKENS), np.uint8),
        kl=None if kl is None else pack(np.array(kl), np.float32),
        p_change=None if kl is None else pack(np.full(TOKENS, 0.1), np.float32),
    )
    sums = {"text": KindSums(tokens=TOKENS, nll=float(nll.sum()), squares=float((nll**2).sum()))}
    return record.model_copy(update={"result": record.result.model_copy(update={"tokens": data, "by_kind": sums})})


def run(last: float, windows: int = 6) -> Run:
    """A file whose divergence rises from 1 in the first quarter of the scored tokens to `last` in the last, with noise between windows."""
    records: list[Record] = [file_record("F16", "Reference", 384), file_record("IQ1_S", "Standard", 60)]
    for w in range(windows):
        kl = np.repeat([1.0, 1.5, 1.5, last], TOKENS // 4) * (1 + 0.01 * w)
        kl[-1] *= 1 + 0.02 * w
        records += [scored("F16", w, None), scored("IQ1_S", w, kl.tolist())]
    return run_of(records, windows=windows, window=34)


def test_parts_of_a_window_by_hand() -> None:
    found = by_position(run(2.0), "IQ1_S", 4)
    assert found is not None
    assert found.first.tolist() == [18, 22, 26, 30] and found.last.tolist() == [21, 25, 29, 33]
    assert found.kl[0] == pytest.approx([1.0, 1.5, 1.5, 2.0]) and found.nll_change[0] == pytest.approx(found.kl[0])
    assert found.growth.value == pytest.approx(2.0, rel=0.05)
    assert by_position(run(2.0), "F16") is None


@pytest.mark.parametrize(("last", "verdict"), [(2.0, "grows"), (0.5, "falls"), (0.98, "no difference shown")])
def test_a_file_that_drifts_is_told(last: float, verdict: str) -> None:
    [row] = positions_table(run(last)).to_dict("records")
    assert row["Recipe"] == "IQ1_S" and row["Verdict"] == verdict
    assert row["RMS Δp at 18-21"] == "10.0%" and "KL at 30-33 [95 %]" in row


def test_every_part_is_a_row_for_programs() -> None:
    frame = positions_frame(run(2.0))
    assert frame[["first", "last"]].to_numpy().tolist() == [[18 + 2 * i, 19 + 2 * i] for i in range(8)]
    assert frame["p_change_rms"].to_list() == pytest.approx([0.1] * 8)
    assert "kl-position" in draw(run(2.0))


def test_without_all_windows_there_are_none() -> None:
    few = run(2.0)
    lacking = run_of(list(few.records[:-1]), windows=6, window=34)
    assert positions_table(lacking).empty and positions_frame(lacking).empty
