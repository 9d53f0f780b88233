"""What `run` leaves on the screen."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from bench.cli.shown import fitting, print_summary, print_table
from bench.measures.registry import load_run

PUBLISHED = Path(__file__).parents[2] / "results" / "smollm2-135m-instruct"


def test_as_many_columns_as_there_is_room_for() -> None:
    widths = {"Recipe": 10, "PPL": 6, "Size": 8}
    assert fitting(widths, 30) == ["Recipe", "PPL", "Size"]  # 10 + 3 + 6 + 3 + 8
    assert fitting(widths, 29) == ["Recipe", "PPL"]
    assert fitting(widths, 18) == ["Recipe"] and fitting(widths, 3) == ["Recipe"]


def test_on_a_terminal_a_table_is_no_wider_than_it_and_says_what_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.DataFrame(
        {"Recipe": ["IQ2_XXS", "DG-IQ2_XXS"], "KL [95 %]": ["0.1 [0.0, 0.2]", "–"], "Last": ["x", "y"]}
    )
    print_table(frame)
    assert "| Recipe     |      KL [95 %] | Last |" in capsys.readouterr().out, "Markdown where it goes into a file"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("NO_COLOR", "1")
    print_table(frame)
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, said.splitlines()[:-1])) <= 30 and "0.1 [0.0, 0.2]" in said
    assert "".join(said.split()).endswith("Leftoutforwantofroom:Last")


def test_the_end_of_a_run_fits_a_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run(PUBLISHED)
    (tmp_path / "records.jsonl").write_bytes((PUBLISHED / "records.jsonl").read_bytes())
    print_summary(run, tmp_path, "nox -s bench --")
    said = capsys.readouterr().out
    assert len(said.splitlines()) <= 30
    assert "| IQ2_XXS      |" in said and "better in 10 of 10 comparisons" in said
    assert f"Report: {(tmp_path / 'report.html').as_uri()}" in said and (tmp_path / "report.html").is_file()
    assert f"nox -s bench -- advise --run {tmp_path}" in said
