"""Published runs keep values of tokens in a file of their own: the same to the bit, and nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.core.errors import BenchError
from bench.measures.registry import load_run, record_types
from bench.measures.windows.apart import TOKENS_FILE, pack_tokens
from bench.measures.windows.jobs import TokenData, pack
from bench.measures.windows.records import FloorRecord, WindowRecord
from bench.measures.windows.runs import windows_of
from bench.measures.windows.tables import full_frame
from bench.records.run import FILE_NAME, Run
from bench.records.store import RunStore
from tests.support.records import file_record, identity, window_record


def kinds(index: int) -> np.ndarray:
    """Of the tokens of a window: the same in every file."""
    return np.random.default_rng(index).integers(0, 2, 40)


def tokens(seed: int, index: int, *, compared: bool) -> TokenData:
    rng = np.random.default_rng(seed)
    n = 40
    kl = pack(rng.gamma(0.3, 0.1, n), np.float32) if compared else None
    return TokenData(
        kind_names=("prose", "code"),
        kinds=pack(kinds(index), np.uint8),
        nll=pack(rng.gamma(2, 1, n), np.float32),
        flags=pack(rng.integers(0, 8, n), np.uint8),
        kl=kl,
        p_change=pack(rng.normal(size=n), np.float32) if compared else None,
    )


def window(recipe: str, index: int, run: str) -> WindowRecord:
    record = window_record(recipe, index, 10 + index, 1).model_copy(update={"run": run})
    data = tokens(index + len(recipe), index, compared=recipe != "F16")
    counts = zip(data.kind_names, np.bincount(kinds(index)).tolist(), strict=True)
    sums = {kind: record.result.by_kind["text"].model_copy(update={"tokens": n}) for kind, n in counts}
    return record.model_copy(update={"result": record.result.model_copy(update={"tokens": data, "by_kind": sums})})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    with RunStore(tmp_path / "run", identity(windows=2), {}, record_types()) as store:
        number = store.run.header.id
        for recipe, family in (("F16", "Reference"), ("IQ2_S", "Standard")):
            store.append(file_record(recipe, family, 100, run=number))
        for index in (0, 1):
            for recipe in ("F16", "IQ2_S"):
                store.append(window(recipe, index, number))
        result = window("IQ2_S", 0, number).result
        store.append(FloorRecord(run=number, threads=1, ubatch=128, result=result))
    return load_run(tmp_path / "run")


def same(a: Run, b: Run) -> bool:
    """Whether two runs tell the same of their windows, to the bit."""
    return (
        windows_of(a).by_file == windows_of(b).by_file
        and windows_of(a).floors == windows_of(b).floors
        and full_frame(a).equals(full_frame(b))
    )


def test_packed_records_are_the_same_to_the_bit(run: Run) -> None:
    directory = run.directory
    assert directory is not None
    before = (directory / FILE_NAME).stat().st_size
    assert pack_tokens(run)
    packed = load_run(directory)
    assert all(r.result.tokens is None for r in packed.of(WindowRecord)), "they stand apart"
    assert same(packed, run) and (directory / FILE_NAME).stat().st_size < before
    assert [r.model_copy(update={"apart": None}) for r in packed.of(WindowRecord)] == [
        r.model_copy(update={"result": r.result.model_copy(update={"tokens": None})}) for r in run.of(WindowRecord)
    ], "and nothing else has changed"


def test_packed_again_nothing_changes(run: Run) -> None:
    assert run.directory is not None and pack_tokens(run)
    files = [run.directory / name for name in (FILE_NAME, TOKENS_FILE)]
    first = [f.read_bytes() for f in files]
    assert not pack_tokens(load_run(run.directory))
    assert [f.read_bytes() for f in files] == first


def test_a_packed_run_is_continued_and_packed_with_what_was_added(run: Run) -> None:
    directory = run.directory
    assert directory is not None and pack_tokens(run)
    with RunStore(directory, identity(windows=2), {}, record_types()) as store:
        number = store.run.header.id
        store.append(file_record("Q8_0", "Standard", 200, run=number))
        store.append(window("Q8_0", 0, number))
        assert windows_of(store.run).by_file["IQ2_S"] == windows_of(run).by_file["IQ2_S"]
    mixed = load_run(directory)
    tokens_file = (directory / TOKENS_FILE).read_bytes()
    assert pack_tokens(mixed) and (directory / TOKENS_FILE).read_bytes() != tokens_file
    assert same(load_run(directory), mixed)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "is missing; copy it beside records.jsonl"),
        (lambda path: path.write_bytes(b"PAR1 nothing"), "cannot be read"),
    ],
)
def test_without_its_tokens_a_packed_run_says_so(run: Run, damage: object, said: str) -> None:
    assert run.directory is not None and pack_tokens(run)
    damage(run.directory / TOKENS_FILE)  # type: ignore[operator]
    with pytest.raises(BenchError, match=said):
        full_frame(load_run(run.directory))


def test_the_tokens_of_another_run_are_refused(run: Run, tmp_path: Path) -> None:
    """Also where it has the same recipes and windows."""
    assert run.directory is not None and pack_tokens(run)
    other = tmp_path / "other"
    with RunStore(other, identity(windows=3), {}, record_types()) as store:
        for record in run.records:
            store.append(record.model_copy(update={"run": store.run.header.id}))
    assert pack_tokens(load_run(other))
    (run.directory / TOKENS_FILE).write_bytes((other / TOKENS_FILE).read_bytes())
    with pytest.raises(BenchError, match=r"holds the tokens of another run than records.jsonl; restore both"):
        full_frame(load_run(run.directory))


def test_tokens_of_other_windows_are_refused(run: Run) -> None:
    assert run.directory is not None and pack_tokens(run)
    path = run.directory / FILE_NAME
    path.write_text(path.read_text().replace('"apart":{"first":0,', '"apart":{"first":40,'))
    with pytest.raises(BenchError, match=r"does not have the tokens of .*belongs to another records.jsonl"):
        full_frame(load_run(run.directory))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(["kl"]), "lacks kl as this program writes them"),
        (lambda t: t.set_column(3, "flags", t["flags"].cast("int64")), "lacks flags as this program writes them"),
        (lambda t: t.set_column(2, "kind", [["verse"] * len(t)]), "do not go with their record"),
        (lambda t: t.set_column(2, "kind", [t["kind"].to_pylist()[::-1]]), "do not go with their record"),
    ],
)
def test_tokens_that_do_not_go_with_the_records_are_refused(
    run: Run, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    assert run.directory is not None and pack_tokens(run)
    path = run.directory / TOKENS_FILE
    table = pq.read_table(path)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(BenchError, match=said):
        full_frame(load_run(run.directory))


def test_values_of_other_tokens_than_the_reference_has_cost_their_record(run: Run) -> None:
    assert run.directory is not None
    number = run.header.id
    other = window("IQ2_S", 0, number)
    data = tokens(9, 5, compared=True)
    counts = zip(data.kind_names, np.bincount(kinds(5)).tolist(), strict=True)
    sums = {kind: other.result.by_kind["code"].model_copy(update={"tokens": n}) for kind, n in counts}
    other = other.model_copy(update={"result": other.result.model_copy(update={"tokens": data, "by_kind": sums})})
    path = run.directory / FILE_NAME
    with path.open("a") as f:
        f.write(f"{other.model_dump_json()}\n")
    found = load_run(run.directory)
    [damaged] = found.damaged
    assert damaged.reason == "its tokens of window 0 are not those of the reference"
    assert damaged.number == path.read_bytes().count(b"\n")
    assert same(found, run), "the record before it counts"


def test_lines_without_tokens_stay_as_they_were_written(run: Run) -> None:
    assert run.directory is not None
    path = run.directory / FILE_NAME
    other = path.read_bytes().splitlines()[1].replace(b'":', b'": ')  # as a version that spaces its JSON would write it
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], other, *lines[2:], b""]))
    assert pack_tokens(load_run(run.directory))
    assert path.read_bytes().splitlines()[1] == other
