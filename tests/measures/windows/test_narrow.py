"""Runs whose windows are added until intervals are narrow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.measures.registry import load_run
from bench.measures.windows.runs import windows_of
from bench.records.identity import Until
from bench.records.record import LookRecord
from bench.records.run import FILE_NAME
from tests.conftest import Outcome
from tests.support.records import identity
from tests.support.tiny import write_text


@pytest.mark.parametrize("asked", ["kl ±5 %", "kl 5%", "KL +-5%", "  kl +/- 5.0 % "])
def test_a_wish_is_read_as_people_write_it(asked: str) -> None:
    assert Until.parse(asked) == Until(quantity="kl", percent=5) == Until.parse(str(Until.parse(asked)))


@pytest.mark.parametrize(
    "asked", ["", "kl", "5 %", "kl 0%", "kl 100 %", "kl ±-5 %", "top 5 %", "kl 5", "kl nan%", "kl 5 % 5"]
)
def test_another_wish_is_refused_with_an_example(asked: str) -> None:
    with pytest.raises(BenchError, match=r"--until .*: is not understood; give .*'kl ±5 %'"):
        Until.parse(asked)


def test_a_run_without_it_keeps_its_id() -> None:
    """Published runs and those of users are found by an id that is older than `until`."""
    for name in ("smollm2-135m-instruct", "smollm2-135m-instruct-sizes", "smollm2-135m-instruct-default"):
        header = load_run(Path("results") / name).header
        assert header.identity.id == header.id
    known = identity(windows=64)
    assert known.model_copy(update={"until": Until(quantity="kl", percent=5)}).id != known.id


@pytest.fixture
def arguments(tiny: Path, cache: Path, tmp_path: Path) -> list[object]:
    text = write_text(tmp_path / "long.txt", 1100)
    common = [
        "--window",
        64,
        "--no-imatrix",
        "--generate",
        0,
        "--threads",
        1,
        "--cache",
        cache,
        "--out",
        tmp_path / "run",
    ]
    return ["--quiet", "run", "--model", tiny, "--text", text, *common]


def test_windows_are_added_until_all_files_are_known(
    bench: Callable[..., Outcome], arguments: list[object], tmp_path: Path
) -> None:
    run, path = tmp_path / "run", tmp_path / "run" / FILE_NAME
    until = ["--until", "kl 60%", "--windows", 16]
    assert bench(*arguments, *until, "--recipes", "Q2_K").code == 0
    found = load_run(run)
    assert found.identity.looks == (8, 16) and found.windows == 8 and found.looks[8].narrow
    assert windows_of(found).is_complete and len(windows_of(found).results("Q2_K") or []) == 8
    tables = (run / "tables" / "tables.md").read_text(encoding="utf-8")
    assert "8 windows of 64 tokens" in tables and "narrow enough, no more windows are added" in tables

    # stopped before the look: it is made up for, and nothing is measured again
    lines = path.read_bytes().splitlines(keepends=True)
    cut = max(i for i, line in enumerate(lines) if b'"kind":"look"' in line)
    path.write_bytes(b"".join(lines[:cut]))
    assert bench(*arguments, *until, "--recipes", "Q2_K").code == 0
    again = load_run(run)
    assert again.windows == 8 and again.looks[8].narrow
    assert path.read_bytes().count(b'"kind":"window"') == 16


def test_windows_end_with_the_limit(bench: Callable[..., Outcome], arguments: list[object], tmp_path: Path) -> None:
    done = bench(*arguments, "--until", "kl 0.01%", "--windows", 12, "--recipes", "Q2_K")
    assert done.code == 0, done.err
    run = load_run(tmp_path / "run")
    assert [(r.windows, r.narrow) for r in run.of(LookRecord)] == [(8, False), (12, False)]
    assert run.windows == 12 and len(windows_of(run).results("Q2_K") or []) == 12
    assert "no more windows are left" in (tmp_path / "run" / "tables" / "tables.md").read_text(encoding="utf-8")


def test_too_few_windows_for_any_interval_are_refused(
    bench: Callable[..., Outcome], arguments: list[object], tmp_path: Path
) -> None:
    refused = bench(*arguments, "--until", "ppl 5 %", "--windows", 4, "--recipes", "Q2_K")
    assert refused.code == 2 and "needs at least 6 windows and there are 4" in refused.err
    assert not (tmp_path / "run").exists()
