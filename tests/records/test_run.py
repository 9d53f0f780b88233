"""Record files: appended, repaired, and refused when they are not what they should be."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from bench.core.errors import BenchError, RecordsError
from bench.measures.problems.jobs import ProblemResult
from bench.measures.problems.records import ProblemRecord, ProblemSetIdentity
from bench.measures.problems.runs import problem_sets
from bench.measures.problems.tables import problem_results
from bench.measures.registry import load_run, record_types
from bench.measures.windows.runs import windows_of
from bench.present.notes import notes
from bench.records.identity import FORMAT
from bench.records.record import FailureRecord, StageRecord
from bench.records.run import FILE_NAME
from bench.records.store import DAMAGED, RunStore
from tests.support.records import file_record, identity, run_of, window_record


def filled(directory: Path) -> str:
    """A run with one file and two windows; returns its id."""
    with RunStore(directory, identity(windows=2), {"python": "3"}, record_types()) as store:
        run = store.run.header.id
        store.append(file_record("F16", "Reference", 100, run=run))
        store.append(window_record("F16", 0, 10, 1, run=run))
        store.append(window_record("F16", 1, 11, 1, run=run))
        return run


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    filled(tmp_path)
    run = load_run(tmp_path)
    assert list(windows_of(run).by_file["F16"]) == [0, 1]
    assert windows_of(run).is_complete
    assert run.identity == identity(windows=2)
    assert run.header.format == FORMAT


def test_files_stand_in_the_order_they_were_asked_for(tmp_path: Path) -> None:
    """One whose worker was killed is built by the next sitting, after the others."""
    with RunStore(tmp_path, identity(), {}, record_types()) as store:
        run, sitting = store.run.header.id, "2026-11-28T12:00:00+00:00"
        for asked, built in (("ABC", "BC"), ("DA", "AD")):
            names = ("F16", *asked)
            store.append(StageRecord(run=run, stage="Preparing", event="began", sitting=sitting, names=names))
            for name in built:
                store.append(file_record(name, "Standard", 100, run=run))
        store.append(file_record("F16", "Reference", 100, run=run))
    assert list(load_run(tmp_path).files) == ["F16", "A", "B", "C", "D"]


@pytest.mark.parametrize("cut", [1, 5, 40, 300])
def test_a_half_written_last_line_is_removed_and_said(tmp_path: Path, cut: int) -> None:
    filled(tmp_path)
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert list(windows_of(load_run(tmp_path)).by_file["F16"]) == [0], "reading alone passes it over"
    with RunStore(tmp_path, identity(windows=2), {}, record_types()) as store:
        assert store.repaired is not None and "half written" in store.repaired
        assert list(windows_of(store.run).by_file["F16"]) == [0]
    assert whole.startswith(path.read_bytes()) and path.read_bytes().endswith(b"\n")


def test_a_line_that_could_not_be_written_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = filled(tmp_path)
    before = (tmp_path / FILE_NAME).read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with RunStore(tmp_path, identity(windows=2), {}, record_types()) as store:
        with monkeypatch.context() as disk:
            disk.setattr(os, "fsync", full)  # the line is written by then
            with pytest.raises(RecordsError, match=r"cannot be written \(No space left on device\); free some space"):
                store.append(window_record("F16", 1, 12, 1, run=run))
        assert (tmp_path / FILE_NAME).read_bytes() == before
        store.append(window_record("F16", 1, 13, 1, run=run))
    expected = window_record("F16", 1, 13, 1).result.by_kind
    assert windows_of(load_run(tmp_path)).by_file["F16"][1].result.by_kind == expected


def test_a_half_written_header_starts_over(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:50])
    with RunStore(tmp_path, identity(windows=2), {}, record_types()) as store:
        assert store.repaired and store.run.records == ()


def test_a_second_run_at_the_same_time_is_refused(tmp_path: Path) -> None:
    with (
        RunStore(tmp_path, identity(), {}, record_types()),
        pytest.raises(BenchError, match="another run is writing here"),
        RunStore(tmp_path, identity(), {}, record_types()),
    ):
        pass


def test_another_run_is_refused_with_both_values(tmp_path: Path) -> None:
    filled(tmp_path)
    before = (tmp_path / FILE_NAME).read_bytes()
    with (
        pytest.raises(BenchError, match=r"settings\.threads is 2 in one and 8 in the other"),
        RunStore(tmp_path, identity(windows=2, threads=8), {}, record_types()),
    ):
        pass
    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hello\n", "is not JSON"),
        ("hello\nworld", "is not JSON"),
        ('{"kind":"other"}\n', "not a record file of this program"),
        ('{"kind":"window","run":"x"}\n', "not a record file of this program"),
        ("[" * 100_000 + "\n", "not a record file of this program"),
    ],
)
def test_foreign_files_are_refused_and_left_alone(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(line)
    with pytest.raises(BenchError, match=said), RunStore(tmp_path, identity(), {}, record_types()):
        pass
    with pytest.raises(BenchError, match=said):
        load_run(tmp_path)
    assert path.read_text() == line


def test_a_foreign_file_without_a_line_end_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text("my notes")
    with (
        pytest.raises(BenchError, match="does not start with the header of a run"),
        RunStore(tmp_path, identity(), {}, record_types()),
    ):
        pass
    assert path.read_text() == "my notes"


def test_another_runs_half_written_line_is_left_alone(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-9])
    before = path.read_bytes()
    with (
        pytest.raises(BenchError, match="holds another run"),
        RunStore(tmp_path, identity(threads=8), {}, record_types()),
    ):
        pass
    assert path.read_bytes() == before


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / FILE_NAME
    header, *rest = path.read_text().splitlines(keepends=True)
    path.write_text(json.dumps(json.loads(header) | {"format": FORMAT + 1}) + "\n" + "".join(rest))
    with pytest.raises(BenchError, match=f"format {FORMAT + 1} .* reads up to {FORMAT}; update the program"):
        load_run(tmp_path)


DAMAGES = {
    "is not JSON": lambda line: line[:200] + line[300:],
    "is not JSON ": lambda line: b"\0" * len(line),
    "is no object": lambda line: b"[1]",
    "belongs to another run": lambda line: line.replace(b'"run":"', b'"run":"x'),
    "result.window": lambda line: line.replace(b'"window":0', b'"window":-1'),
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_a_damaged_line_costs_its_record_and_is_moved_aside(tmp_path: Path, reason: str) -> None:
    filled(tmp_path)
    path = tmp_path / FILE_NAME
    lines = path.read_bytes().splitlines()
    damaged = DAMAGES[reason](lines[2])
    path.write_bytes(b"\n".join([*lines[:2], damaged, *lines[3:]]) + b"\n")
    before = path.read_bytes()

    run = load_run(tmp_path)
    assert list(windows_of(run).by_file["F16"]) == [1]
    assert [(d.number, d.line) for d in run.damaged] == [(3, damaged)] and reason.strip() in run.damaged[0].reason
    assert path.read_bytes() == before, "who only reads leaves the file alone"
    assert any("line 3" in n and "damaged" in n for n in notes(run))

    for _ in range(2):  # a second time there is nothing to move
        with RunStore(tmp_path, identity(windows=2), {}, record_types()) as store:
            told = store.repaired
            store.append(window_record("F16", 0, 10, 1, run=run.header.id))
        assert (tmp_path / DAMAGED).read_bytes() == damaged + b"\n"
        assert told is None or ("line 3" in told and DAMAGED in told)
    assert told is None
    assert path.read_bytes().startswith(b"\n".join([*lines[:2], *lines[3:]]) + b"\n")
    assert list(windows_of(load_run(tmp_path)).by_file["F16"]) == [0, 1] and not load_run(tmp_path).damaged


def test_records_of_a_later_version_are_left_where_they_are(tmp_path: Path) -> None:
    run = filled(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes() + f'{{"kind":"later","run":"{run}"}}\n'.encode())
    before = path.read_bytes()
    assert list(windows_of(load_run(tmp_path)).by_file["F16"]) == [0, 1]
    with (
        pytest.raises(BenchError, match=r"records\.jsonl:5: .*does not know the kind 'later'; update the program"),
        RunStore(tmp_path, identity(windows=2), {}, record_types()),
    ):
        pass
    assert path.read_bytes() == before


def test_a_damaged_header_is_said_and_nothing_is_changed(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes().replace(b'"windows":2', b'"windows":"', 1))
    before = path.read_bytes()
    for opened in (lambda: load_run(tmp_path), RunStore(tmp_path, identity(windows=2), {}, record_types()).__enter__):
        with pytest.raises(
            BenchError, match=r"records\.jsonl:1: the header of the run is damaged .* restore the first line"
        ):
            opened()
    assert path.read_bytes() == before


def test_what_a_failed_append_left_behind_is_not_written_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails in the middle of a line, and then fails to take it back."""
    run = filled(tmp_path)
    before = (tmp_path / FILE_NAME).read_bytes()

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with RunStore(tmp_path, identity(windows=2), {}, record_types()) as store:
        with monkeypatch.context() as disk:
            write = os.write
            disk.setattr(os, "write", lambda fd, data: write(fd, data[:50]) if len(data) > 50 else failing())
            disk.setattr(os, "ftruncate", failing)
            with pytest.raises(RecordsError):
                store.append(window_record("F16", 1, 12, 1, run=run).model_copy(update={"cpu": "x"}))
        store.append(window_record("F16", 1, 13, 1, run=run))
    after = (tmp_path / FILE_NAME).read_bytes()
    assert after.startswith(before) and after[len(before) :].count(b"\n") == 1
    assert not load_run(tmp_path).damaged


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).symlink_to("/dev/full")
    with (
        pytest.raises(BenchError, match=r"cannot be written \(No space left on device\); free some space"),
        RunStore(tmp_path, identity(), {}, record_types()),
    ):
        pass


def test_windows_of_an_older_file_of_the_same_name_do_not_count(tmp_path: Path) -> None:
    run = filled(tmp_path)
    with RunStore(tmp_path, identity(windows=2), {}, record_types()) as store:
        store.append(file_record("F16", "Reference", 100, run=run).model_copy(update={"sha256": "rebuilt"}))
        assert windows_of(store.run).by_file["F16"] == {}
        assert not windows_of(store.run).is_complete


def test_a_build_that_fails_after_it_went_well_is_a_failure_until_it_goes_well_again(tmp_path: Path) -> None:
    run = filled(tmp_path)
    file = file_record("IQ1_S", "Standard", 50, run=run)
    with RunStore(tmp_path, identity(windows=2), {}, record_types()) as store:
        store.append(file)
        store.append(FailureRecord(run=run, recipe="IQ1_S", window=None, reason="killed"))
        assert [f.reason for f in store.run.failures] == ["killed"]
        store.append(file)
        assert store.run.failures == []


def test_problem_records_of_the_first_version_still_load(tmp_path: Path) -> None:
    """They did not say how many batches there are: then a file has all that has as many as any."""
    asked = ProblemSetIdentity(name="chat", problem_kind="chat", sha256="0", assistant_only=False, key="k")

    def record(recipe: str, batch: int) -> ProblemRecord:
        result = ProblemResult(name=f"p{batch}", group="g", tokens=2, nll=2.0, correct=0)
        return ProblemRecord(run="r", recipe=recipe, sha256=recipe, problem_set=asked, batch=batch, results=(result,))

    files = [file_record("F16", "Reference", 2), file_record("Q8_0", "Standard", 1)]
    run = run_of([*files, record("F16", 0), record("F16", 1), record("Q8_0", 1)])
    lines = [run.header.model_dump_json(), *(r.model_dump_json(exclude={"batches"}) for r in run.records)]
    (tmp_path / "records.jsonl").write_text("\n".join(lines) + "\n")
    loaded = load_run(tmp_path)
    assert problem_results(loaded, problem_sets(loaded)[0]).keys() == {"F16"}
