"""A run as one HTML file that needs no network, from its records.

The same records give the same bytes: a page contains no dates but those of the records.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.measures.registry import all_measures
from bench.measures.windows.apart import TOKENS_FILE
from bench.present.notes import notes
from bench.present.output import is_newer, write_outputs
from bench.present.pages.data import page_data
from bench.present.pages.inline_svg import InlinePlot, inline_svg
from bench.present.pages.maps import TypeMap, legend, type_maps
from bench.present.pages.rendering import heading, render
from bench.present.pages.repeat import repeat
from bench.present.pages.tables import files_table, first_tables, folded_sections, page_sections
from bench.present.pages.text import LEVELS, why_no_text
from bench.present.plots import plot_titles
from bench.records.describe import about, reference_caveat, what_it_took
from bench.records.run import FILE_NAME, Run

REPORT = "report.html"
#: The map of a model's sensitivity is measured apart from a run.
_SENSITIVITY = {"sensitivity": "Sensitivity by layer and kind of tensor"}
#: A list of more sentences than this is closed until it is opened.
_FEW_SENTENCES = 12


@dataclass(frozen=True)
class Said:
    """Sentences under a heading."""

    title: str
    lines: tuple[str, ...]

    @property
    def closed(self) -> bool:
        return len(self.lines) > _FEW_SENTENCES


def write_report(run: Run, directory: Path, *, only_if_older: bool = False, out: Path | None = None) -> Path:
    """Write RUN/report.html, after the run's plots where those are older than its records; returns its path.

    only_if_older: leave it alone when it was made after the last record was. out: write it there instead; it then links none of
    the run's files, which do not lie beside it.

    Raises BenchError for a run without files.
    """
    if not run.files:
        raise BenchError(f"{directory}: has no file on record, so there is nothing to report; run it first")
    path = out or directory / REPORT
    if only_if_older and is_newer(path, directory / FILE_NAME):
        return path
    write_outputs(run, directory, only_if_older=True)
    maps, data = type_maps(run), page_data(run)
    page = render(
        "report.html.jinja",
        {
            "title": f"Quantizations of {run.identity.model.name}",
            "caveat": " ".join(filter(None, [_unfinished(run), reference_caveat(run)])),
            "about": labelled([*about(run), *filter(None, [what_it_took(run)])]),
            "first": first_tables(run),
            "said": said(run),
            "all_files": files_table(run),
            "data": data,
            "beside": [] if out else _beside(directory),
            "token_levels": LEVELS,
            "why_no_text": why_no_text(run),
            "plots": _plots(directory, run.identity.model.name),
            "sections": page_sections(run),
            "folded": folded_sections(run),
            "maps": [(family, list(of)) for family, of in groupby(_by_family(maps), key=lambda m: m.family)],
            "legend": legend(maps),
            "repeat": repeat(run),
        },
    )
    with complete_or_absent(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


#: Files of a run that its page links, with what they are.
_BESIDE = {"CSV": "tables/full.csv", "tables": "tables/tables.md", "records": FILE_NAME, "tokens": TOKENS_FILE}


def _beside(directory: Path) -> list[tuple[str, str]]:
    """(what it is, address from the page) of the run's files that there are."""
    return [(name, address) for name, address in _BESIDE.items() if (directory / address).is_file()]


def _unfinished(run: Run) -> str:
    """That the run is not complete, and what is missing first; empty for a complete one."""
    missing = [s for m in all_measures() for s in m.shortfalls(run)]
    if not missing:
        return ""
    more = f"; and {len(missing) - 1} more, which the notes name" if len(missing) > 1 else ""
    return f"This run is not complete. {missing[0]}{more}."


def said(run: Run) -> list[Said]:
    """What the figures allow to say, what is odd about them, and what a reader must know beside them."""
    found = {"What differs by more than its uncertainty": verdicts(run)}
    for measure in all_measures():  # several may use one heading
        found[measure.surprising] = [*found.get(measure.surprising, ()), *measure.surprises(run)]
    found |= {"Notes": notes(run)}
    return [Said(title, tuple(lines)) for title, lines in found.items() if lines]


def verdicts(run: Run) -> list[str]:
    """How many of the comparisons came out how."""
    return [v for m in all_measures() for v in m.verdicts(run)]


def labelled(lines: list[str]) -> list[tuple[str, str]]:
    """(label, text) of lines that begin with their label."""
    return [(label, text) for label, _, text in (line.partition(": ") for line in lines)]


def _by_family(maps: list[TypeMap]) -> list[TypeMap]:
    order = list(dict.fromkeys(m.family for m in maps))
    return sorted(maps, key=lambda m: order.index(m.family))


def _plots(directory: Path, model: str) -> list[InlinePlot]:
    """The run's plots, and the sensitivity map of its model where one was published beside it."""
    titles = plot_titles() | _SENSITIVITY
    found = {n: p for n in titles if (p := directory / "plots" / f"{n}.svg").is_file()}
    for text in sorted(directory.absolute().parent.glob("*-sensitivity/sensitivity.md")):
        if heading(text) == f"Sensitivity of {model}" and (plot := text.with_suffix(".svg")).is_file():
            found["sensitivity"] = plot
    return [inline_svg(found[n].read_text(encoding="utf-8"), name=n, title=titles[n]) for n in titles if n in found]
