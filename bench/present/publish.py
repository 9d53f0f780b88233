"""`nox -s publish`: tables, plots and page of every published run again from its records, the comparison with
llama.cpp's tools from its, the index of results/, and the figures in README.md.

README.md quotes a run between two comments, <!-- run NAME: start --> and <!-- run NAME: end -->, and its comparisons at
equal size between <!-- equal-size NAME: start --> and <!-- equal-size NAME: end -->. What stands there is written by this module and by nobody else; a test fails when it is not what the records say.
"""

from __future__ import annotations

import re
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.measures.registry import all_measures, load_run
from bench.peers.peers import write_report
from bench.present.output import summarize, write_outputs
from bench.present.pages.report import write_index
from bench.present.pages.report import write_report as write_page
from bench.records.run import FILE_NAME

_BLOCK = re.compile(r"(<!-- (run|equal-size) ([\w-]+): start -->\n).*?(<!-- \2 \3: end -->)", re.DOTALL)


def readme_with_results(readme: str, results: Path) -> str:
    """README's text with every quoted run filled in from its records."""

    def fill(block: re.Match[str]) -> str:
        run = load_run(results / block[3])
        told = {word: text for m in all_measures() for word, text in m.quotes(run).items()}
        quoted = summarize(run).headline if block[2] == "run" else told[block[2]]
        return f"{block[1]}\n{quoted}\n\n{block[4]}"

    return _BLOCK.sub(fill, readme)


def main() -> None:
    root = Path(__file__).parents[2]
    results = root / "results"
    for records in sorted(p for p in results.glob(f"*/{FILE_NAME}") if p.parent.name != "local"):
        run = load_run(records.parent)
        write_outputs(run, records.parent)
        write_page(run, records.parent)
    if (results / "peers").is_dir():
        write_report(results / "peers")
    write_index(results)  # after the comparison with the tools, whose title it quotes
    readme = root / "README.md"
    text = readme_with_results(readme.read_text(encoding="utf-8"), results)
    with complete_or_absent(readme) as partial:
        partial.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except BenchError as e:
        raise SystemExit(f"error: {e}") from e
