"""The commands history, check and export, as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench.present.export import exported
from tests.conftest import Outcome
from tests.present.test_check import run as run_like
from tests.present.test_history import run as run_of_day


def written(directory: Path, **fields: object) -> Path:
    """A run's directory with the records of test_check.run."""
    return _write(directory, run_like(**fields))  # type: ignore[arg-type]


def _write(directory: Path, found: object) -> Path:
    directory.mkdir(parents=True)
    lines = [found.header, *found.records]  # type: ignore[attr-defined]
    (directory / "records.jsonl").write_text("".join(f"{x.model_dump_json()}\n" for x in lines))
    return directory


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    return written(tmp_path / "baseline")


def test_a_check_that_passes_prints_its_table_and_ends_with_0(
    bench: Callable[..., Outcome], tmp_path: Path, baseline: Path
) -> None:
    ended = bench("check", written(tmp_path / "run", ppl=1.004), "--against", baseline)
    assert (ended.code, ended.err) == (0, "")
    assert "| IQ1_S  |         Perplexity |" in ended.out and "+0.40% [+0.40%, +0.40%] | +0.50% |" in ended.out
    assert ended.out.rstrip().endswith("Nothing got worse beyond its limit")


def test_a_check_that_fails_ends_with_1_and_names_what(
    bench: Callable[..., Outcome], tmp_path: Path, baseline: Path
) -> None:
    worse = written(tmp_path / "run", ppl=1.1)
    ended = bench("check", worse, "--against", baseline)
    assert ended.code == 1 and "Worse: 1 of 7 figures (IQ1_S Perplexity)" in ended.out
    as_json = bench("check", worse, "--against", baseline, "--json")
    found = json.loads(as_json.out)
    assert as_json.code == 1 and found["worse"] == 1
    [row] = [f for f in found["figures"] if f["worse"]]
    assert (row["recipe"], row["figure"], row["limit"]) == ("IQ1_S", "ppl", 0.005)
    assert row["change"] == pytest.approx(0.1)
    limits = tmp_path / "limits.toml"
    limits.write_text("ppl_percent = 20.0\n")
    assert bench("check", worse, "--against", baseline, "--thresholds", limits).code == 0


def test_runs_that_do_not_compare_end_with_2(bench: Callable[..., Outcome], tmp_path: Path, baseline: Path) -> None:
    ended = bench("check", written(tmp_path / "run", threads=16), "--against", baseline)
    assert ended.code == 2 and ended.out == ""
    assert ended.err.count("\n") == 1 and "settings.threads is 2 in one and 16 in the other" in ended.err


def test_check_reads_stored_rounds_beside_the_records_or_where_they_are_given(
    bench: Callable[..., Outcome], tmp_path: Path, baseline: Path
) -> None:
    """The records say 2 s; rounds edited to twice that stand first beside them, then elsewhere."""
    this = written(tmp_path / "run")
    stored = this / "benchmark.json"
    assert bench("export", this, "--benchmark-json", stored).code == 0
    assert bench("check", this, "--against", baseline).code == 0
    data = json.loads(stored.read_text())
    for benchmark in data["benchmarks"]:
        if benchmark["name"] == "window[IQ1_S]":
            benchmark["stats"]["data"] = [2 * s for s in benchmark["stats"]["data"]]
    stored.write_text(json.dumps(data))
    ended = bench("check", this, "--against", baseline)
    assert ended.code == 1 and "(IQ1_S Time of a window)" in ended.out
    elsewhere = stored.rename(tmp_path / "rounds.json")
    assert bench("check", this, "--against", baseline).code == 0
    assert bench("check", this, "--against", baseline, "--rounds", elsewhere).code == 1
    assert bench("check", this, "--against", this, "--baseline-rounds", elsewhere).code == 0, "now it is faster"
    wrong = bench("check", this, "--against", baseline, "--rounds", tmp_path / "none.json")
    assert wrong.code == 2 and "none.json: cannot be read" in wrong.err


def test_export_prints_or_writes(bench: Callable[..., Outcome], tmp_path: Path, baseline: Path) -> None:
    printed = bench("export", baseline, "--table", "files")
    assert printed.code == 0 and printed.out.startswith("| Recipe |")
    target = tmp_path / "out" / "files.parquet"
    assert bench("export", baseline, "--table", "files", "--out", target) == Outcome(0, "", "")
    assert pd.read_parquet(target)["recipe"].tolist() == ["F16", "IQ1_S"]
    assert bench("export", baseline, "--table", "kl", "--format", "latex").code == 2
    assert "name a table with --table" in bench("export", baseline).err
    assert "are of a table" in bench("export", baseline, "--benchmark-json", tmp_path / "b.json", "--out", "x.csv").err


def test_help_names_every_table(bench: Callable[..., Outcome]) -> None:
    said = "".join(bench("export", "--help").out.split())
    assert not [name for name in exported() if name not in said]


def test_history_of_all_runs_below_results(
    bench: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "results: has no runs in it" in bench("history").err
    _write(tmp_path / "results" / "a", run_of_day(1))
    _write(tmp_path / "results" / "local" / "b", run_of_day(2, ppl=12))
    ended = bench("history")
    assert ended.code == 0 and "2 runs" in ended.out and "| results/local/b |" in ended.out
    assert ended.out.rstrip().endswith("Plot: results/local/history/ppl.png")
    assert (tmp_path / "results/local/history/ppl.svg").is_file()
    one = bench("history", "results/a", "--figure", "bytes", "--recipe", "IQ1_S")
    assert "1 run\n" in one.out and "F16" not in one.out and "Plot: none, it takes two runs that compare" in one.out
    found = json.loads(bench("history", "--json", "--recipe", "IQ1_S").out)
    assert [p["value"] for p in found[0]["points"]] == [pytest.approx(10), pytest.approx(12)]
    assert "did you mean window_seconds" in bench("history", "--figure", "window_second").err
