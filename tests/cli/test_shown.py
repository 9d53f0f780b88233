"""What `run` leaves on the screen."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from bench.cli.shown import print_summary
from bench.measures.registry import load_run

PUBLISHED = Path(__file__).parents[2] / "results" / "smollm2-135m-instruct"


def test_the_end_of_a_run_fits_a_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run(PUBLISHED)
    (tmp_path / "records.jsonl").write_bytes((PUBLISHED / "records.jsonl").read_bytes())
    print_summary(run, tmp_path, "nox -s bench --")
    said = capsys.readouterr().out
    assert len(said.splitlines()) <= 30
    assert "| IQ2_XXS      |" in said and "better in 10 of 10 comparisons" in said
    assert f"Report: {(tmp_path / 'report.html').as_uri()}" in said and (tmp_path / "report.html").is_file()
    assert f"nox -s bench -- advise --run {tmp_path}" in said


def test_on_a_terminal_the_end_of_a_run_is_folded_between_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    run = load_run(PUBLISHED)
    for name in ("records.jsonl", "tokens.parquet"):
        shutil.copy(PUBLISHED / name, tmp_path)
    print_summary(run, tmp_path, "dynamicgate-bench")
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    for line in said.splitlines():
        assert len(line) <= 80 or str(tmp_path) in line or tmp_path.as_uri() in line, line
    assert "dequantized from Q4_1 and Q8_0 to F16" in " ".join(said.split()), "no word is cut"
