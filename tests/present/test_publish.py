"""README.md, docs/ and results/ say what the records say."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.measures.registry import load_run
from bench.measures.windows.apart import TOKENS_FILE
from bench.measures.windows.runs import windows_of
from bench.peers.measured import report
from bench.peers.works import measured_in
from bench.present import publish
from bench.present.output import write_outputs
from bench.present.pages.report import REPORT
from bench.records.run import FILE_NAME

#: What a run of traces was scored on, which lies beside it.
TRACES = "traces.jsonl"
ROOT = Path(__file__).parents[2]
PUBLISHED = sorted(p.parent for p in (ROOT / "results").glob(f"*/{FILE_NAME}"))


@pytest.mark.parametrize("page", publish.pages(ROOT), ids=lambda p: p.name)
def test_pages_quote_the_records(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert publish.with_results(text, ROOT / "results") == text, "run `nox -s publish`"


@pytest.mark.parametrize(
    ("page", "block"),
    [
        ("README.md", "run smollm2-135m-instruct-default"),
        ("docs/recipes.md", "equal-size smollm2-135m-instruct-sizes"),
        ("docs/peers.md", "side-by-side peers"),
        ("README.md", "times peers"),
        ("README.md", "claim smollm2-135m-instruct"),
        ("docs/recipes.md", "claim smollm2-135m-instruct"),
        ("docs/measuring.md", "claim smollm2-135m-instruct"),
    ],
)
def test_what_a_page_must_quote_is_there_and_comes_from_the_records(page: str, block: str) -> None:
    """Emptied, it is filled again: a comment with a typing error would quote nothing and pass the test above."""
    text = (ROOT / page).read_text(encoding="utf-8")
    start, end = f"<!-- {block}: start -->", f"<!-- {block}: end -->"
    before, _, rest = text.partition(start)
    quoted, _, after = rest.partition(end)
    assert len(quoted) > 200
    assert publish.with_results(f"{before}{start}\n{end}{after}", ROOT / "results") == text


@pytest.mark.parametrize("directory", PUBLISHED, ids=[p.name for p in PUBLISHED])
def test_published_tables_are_those_of_the_records(directory: Path, tmp_path: Path) -> None:
    run = load_run(directory)
    assert windows_of(run).is_complete
    write_outputs(run, tmp_path)
    made = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert made == sorted(
        p.relative_to(directory)
        for p in directory.rglob("*")
        if p.is_file() and p.name not in (FILE_NAME, TOKENS_FILE, REPORT, TRACES, ".lock")
    )
    for name in made:
        if name.parent.name == "tables":
            assert (tmp_path / name).read_bytes() == (directory / name).read_bytes(), f"{name}: run `nox -s publish`"


def test_the_comparison_with_the_tools_is_what_its_records_say() -> None:
    peers = ROOT / "results" / "peers"
    measured = measured_in(peers)
    assert measured and report(measured) == (peers / "peers.md").read_text(encoding="utf-8")
