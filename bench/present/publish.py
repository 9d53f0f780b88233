"""`nox -s publish`: make tables, plots and page of every published run again from its records, the comparison with
llama.cpp's tools from its own, the index of results/, and the figures that README.md and the pages in docs/ quote.

A page quotes between two comments, <!-- run NAME: start --> and <!-- run NAME: end -->. NAME is a directory of results/. Instead of
`run` (the headline of a run) the comments may say `minutes` (how long it took), `side-by-side` or `times` (the comparison with the
tools, and its wall times alone), or a quote of a measure (`Measure.quotes`): `equal-size` (comparisons at equal size), `claim` (the claim about error
propagation, and the measurement). Only this module writes the text between the comments; a test fails when it differs from the records.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.measures.registry import all_measures, load_run
from bench.peers.measured import overview, times
from bench.peers.works import measured_in, write_report
from bench.present import schedule
from bench.present.output import summarize, write_outputs
from bench.present.pages.index import write_index
from bench.present.pages.report import write_report as write_page
from bench.present.published_text import add_text
from bench.records.describe import minutes_text
from bench.records.run import FILE_NAME
from bench.records.store import only_writer

_BLOCK = re.compile(r"(<!-- ([a-z-]+) ([\w-]+): start -->\n).*?(<!-- \2 \3: end -->)", re.DOTALL)


#: Words that ask for figures of the comparison with llama.cpp's tools.
_OF_PEERS = {"side-by-side": overview, "times": times}
#: A word that asks for what is simulated, of no run.
_SCHEDULE = "schedule"


def _quoted(word: str, directory: Path) -> str:
    """What a page asks for by a word. Raises BenchError for one that nothing answers to."""
    if word in _OF_PEERS:
        return _OF_PEERS[word](measured_in(directory))
    if word == _SCHEDULE:
        return schedule.table()
    records = (directory / FILE_NAME).stat()
    told = _told(directory, records.st_mtime_ns, records.st_size)
    if word not in told:
        raise BenchError(
            f"<!-- {word} {directory.name}: start -->: nothing is called {word}; known are {', '.join(told)}"
        )
    return told[word]


@cache
def _told(directory: Path, _changed: int, _n_bytes: int) -> Mapping[str, str]:
    """All that pages may quote of a run, worked out once for as long as its records are what they were."""
    run = load_run(directory)
    quoted = {w: text for m in all_measures() for w, text in m.quotes(run).items()}
    return {"run": summarize(run).headline, "minutes": minutes_text(run)} | quoted


def pages(root: Path) -> list[Path]:
    """The pages that may quote figures."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def with_results(page: str, results: Path) -> str:
    """A page's text with everything that it quotes filled in from the records."""

    def fill(block: re.Match[str]) -> str:
        return f"{block[1]}\n{_quoted(block[2], results / block[3])}\n\n{block[4]}"

    return _BLOCK.sub(fill, page)


def main() -> None:
    root = Path(__file__).parents[2]
    results = root / "results"
    for records in sorted(p for p in results.glob(f"*/{FILE_NAME}") if p.parent.name != "local"):
        if add_text(records.parent):
            print(f"{records}: has the text of a window now, which its page shows token by token")
        with only_writer(records.parent):
            packed = [m.pack(load_run(records.parent)) for m in all_measures()]
        if any(packed):
            print(f"{records}: values of tokens stand in a file of their own now")
        run = load_run(records.parent)
        write_outputs(run, records.parent)
        write_page(run, records.parent)
    if (results / "peers").is_dir():
        write_report(results / "peers")
    schedule.draw(results / "cluster" / "schedule")
    write_index(results)  # after the comparison with the tools, whose title it quotes
    for page in pages(root):
        before = page.read_text(encoding="utf-8")
        if (after := with_results(before, results)) != before:
            with complete_or_absent(page) as partial:
                partial.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except BenchError as e:
        raise SystemExit(f"error: {e}") from e
