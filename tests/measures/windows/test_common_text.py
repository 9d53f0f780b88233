"""What two runs of other vocabularies both scored, and their bits for it: worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.measures.windows.common_text import common_text
from bench.measures.windows.records import FloorRecord, Span, SpansRecord, WindowRecord
from bench.records.run import Run
from tests.support.records import file_record, run_of, text_run, window_record


def test_only_what_lies_between_edges_of_both_counts() -> None:
    # bytes      0         10        20
    # A          [4|3|3|2]      [2|4|2]           edges 0 4 7 10 12, 16 18 22 24
    # B            [2|3|5|4|4|2]                  edges 2 4 7 12 16 20 22
    # common         4-7, 7-12      16-20-22: 16-22
    a = text_run("A", [(0, [4, 3, 3, 2]), (16, [2, 4, 2])], {"F16": [[1, 2, 4, 8], [16, 32, 64]]})
    b = text_run("B", [(2, [2, 3, 5, 4, 4, 2])], {"F16": [[1, 2, 3, 5, 7, 11]]})
    found = common_text(a, b)
    assert found.total_bytes == 3 + 5 + 6
    # A: 3 bytes of 2 bits, 3 + 2 of 4 + 8, 2 + 4 of 16 + 32; B: 3 of 2, 5 of 3, 4 + 2 of 7 + 11
    assert found.of_a("F16").value == pytest.approx((2 + 12 + 48) / 14)
    assert found.of_b("F16").value == pytest.approx((2 + 3 + 18) / 14)
    change = found.change("F16", "F16")
    assert change.value == pytest.approx((2 + 3 + 18 - 2 - 12 - 48) / 14) and not change.has_interval
    # the other way round it is the same text
    assert common_text(b, a).change("F16", "F16").value == pytest.approx(-change.value)


def test_text_that_one_skips_between_its_windows_is_left_out() -> None:
    a = text_run("A", [(0, [2, 2]), (8, [2, 2])], {"F16": [[1, 1], [1, 1]]})
    b = text_run("B", [(0, [1] * 12)], {"F16": [[3] * 12]})
    found = common_text(a, b)
    assert found.total_bytes == 8 and found.of_b("F16").value == pytest.approx(3)


def test_units_are_kinds_within_windows_of_the_run_whose_windows_are_longer() -> None:
    a = text_run("A", [(4 * w, [2, 2]) for w in range(12)], {"F16": [[1, 1 + w % 3] for w in range(12)]})
    kinds = [["code", "code", "prose", "prose"]] * 6
    b = text_run("B", [(8 * w, [2] * 4) for w in range(6)], {"F16": [[2, 2, 2, 2 + w] for w in range(6)]}, kinds=kinds)
    found = common_text(a, b)
    assert found.layout.n_windows == 6 and list(found.n_bytes) == [4.0] * 12
    np.testing.assert_allclose(found.bits_b["F16"], [x for w in range(6) for x in (1.0, (4 + w) / 4)])
    assert found.change("F16", "F16").has_interval


def test_pairing_takes_out_what_is_hard_for_both() -> None:
    hard = [1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0]
    a = text_run("A", [(4 * w, [2, 2]) for w in range(7)], {"F16": [[h, h] for h in hard]})
    b = text_run("B", [(4 * w, [4]) for w in range(7)], {"F16": [[2 * h + 1] for h in hard]})
    found = common_text(a, b)
    change = found.change("F16", "F16")
    assert change.low == pytest.approx(0.25) and change.high == pytest.approx(0.25)
    alone = found.of_a("F16")
    assert alone.low is not None and alone.high is not None and alone.high - alone.low > 0.5


def test_a_difference_within_the_floor_of_either_is_none() -> None:
    a = text_run("A", [(4 * w, [2, 2]) for w in range(7)], {"F16": [[5, 5]] * 7})
    b = text_run("B", [(4 * w, [4]) for w in range(7)], {"F16": [[10.004]] * 7})
    change = common_text(a, b).change("F16", "F16")
    assert change.value == pytest.approx(0.001, rel=1e-3) and change.floor == 0 and change.excludes(0)
    # another kernel makes each token of A 0.01 bits worse, which is 0.005 bits for each of its bytes
    [again] = text_run("A", [(0, [2, 2])], {"F16": [[5.01, 5.01]]}).of(WindowRecord)
    floor = FloorRecord(run="r", threads=1, ubatch=512, flash=False, result=again.result)
    floored = common_text(Run(a.header, (*a.records, floor)), b).change("F16", "F16")
    assert floored.floor == pytest.approx(0.005, rel=1e-3) and not floored.excludes(0)
    assert floored.value == change.value


def test_no_common_text_is_refused() -> None:
    a = text_run("A", [(0, [4, 4])], {"F16": [[1, 1]]})
    for first, lengths in ((8, [4, 4]), (1, [2, 2]), (100, [1])):
        with pytest.raises(BenchError, match="no stretch of the text that both runs scored; score more windows"):
            common_text(a, text_run("B", [(first, lengths)], {"F16": [[1] * len(lengths)]}))


def test_runs_that_do_not_tell_are_refused() -> None:
    a = text_run("A", [(0, [4, 4])], {"F16": [[1, 1]]})

    def without(run: Run) -> list[object]:
        return [r for r in run.records if not isinstance(r, SpansRecord)]

    old = run_of(without(a), model="B")  # type: ignore[arg-type]
    with pytest.raises(
        BenchError, match="records of run B do not say where in the text its tokens are; give the command"
    ):
        common_text(a, old)
    lossy = run_of([*without(a), SpansRecord(run="r", windows=())], model="B")  # type: ignore[list-item]
    with pytest.raises(BenchError, match=r"vocabulary of run A \(B\) does not give the text back byte for byte"):
        common_text(lossy, a)
    other = run_of([*without(a), *text_run("B", [(0, [4, 4, 4])], {}).records], model="B")  # type: ignore[list-item]
    with pytest.raises(BenchError, match="is not of the tokens of window 0; restore"):
        common_text(a, other)
    sums_only = [file_record("F16", "Reference", 9), window_record("F16", 0, 5, 1), *a.of(SpansRecord)]
    with pytest.raises(BenchError, match="no file of run B has all its windows, with the values of their tokens"):
        common_text(a, run_of(sums_only, model="B"))


def test_bits_are_logarithms_to_the_base_of_two() -> None:
    a = text_run("A", [(0, [1])], {"F16": [[3.0]]})
    [record] = [r for r in a.records if r.kind == "window"]
    assert sum(s.nll for s in record.result.by_kind.values()) == pytest.approx(3 * math.log(2))  # type: ignore[attr-defined]
    assert common_text(a, text_run("B", [(0, [1])], {"F16": [[3.0]]})).of_a("F16").value == pytest.approx(3)


def test_spans_out_of_order_are_no_record() -> None:
    def span(window: int, first: int) -> Span:
        return Span(window=window, first=first, lengths="BAQ=")  # 4, 4

    assert span(0, 3).edges().tolist() == [3, 7, 11]
    for spans in ((span(0, 0), span(1, 7)), (span(1, 0), span(0, 8))):
        with pytest.raises(ValueError, match="not in the text's order"):
            SpansRecord(run="r", windows=spans)
