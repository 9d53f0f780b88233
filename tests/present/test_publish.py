"""README.md and results/ say what the records say."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.measures.registry import load_run
from bench.measures.windows.runs import windows_of
from bench.peers.peers import WORKS, Measured, report
from bench.present import publish
from bench.present.output import write_outputs
from bench.present.pages.report import REPORT
from bench.records.run import FILE_NAME

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted(p.parent for p in (ROOT / "results").glob(f"*/{FILE_NAME}"))


def test_readme_quotes_the_records() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("<!-- run ") == 2, "README quotes a run"
    assert publish.readme_with_results(text, ROOT / "results") == text


@pytest.mark.parametrize("directory", PUBLISHED, ids=[p.name for p in PUBLISHED])
def test_published_tables_are_those_of_the_records(directory: Path, tmp_path: Path) -> None:
    run = load_run(directory)
    assert windows_of(run).is_complete
    write_outputs(run, tmp_path)
    made = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert made == sorted(
        p.relative_to(directory) for p in directory.rglob("*") if p.is_file() and p.name not in (FILE_NAME, REPORT)
    )
    for name in made:
        if name.parent.name == "tables":
            assert (tmp_path / name).read_bytes() == (directory / name).read_bytes(), f"{name}: run `nox -s publish`"


def test_the_comparison_with_the_tools_is_what_its_records_say() -> None:
    peers = ROOT / "results" / "peers"
    measured = [Measured.model_validate_json(f.read_bytes()) for n in WORKS if (f := peers / f"{n}.json").is_file()]
    assert measured and report(measured) == (peers / "peers.md").read_text(encoding="utf-8")
