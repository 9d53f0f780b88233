"""What `run` leaves on the screen."""

from __future__ import annotations

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
