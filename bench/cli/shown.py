"""What `run` and `tables` leave on the screen: the headline, what it comes to, and where everything else is."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.advise.findings import findings
from bench.core.formats import markdown
from bench.measures.registry import all_measures
from bench.present.files import all_files
from bench.present.notes import notes
from bench.present.pages.report import write_report
from bench.records.describe import about
from bench.records.run import FILE_NAME, Run

if TYPE_CHECKING:
    import pandas as pd

#: Findings that are told on the screen; all of them are on the page.
_TOLD = 3


def run_as_json(run: Run, directory: Path) -> dict[str, object]:
    """A run for programs: what identifies it, and what every measure has to tell."""
    measures = all_measures()
    told = {key: value for m in measures for key, value in m.json(run).items()}
    return {
        "directory": str(directory),
        "complete": all(m.is_complete(run) for m in measures),
        "identity": run.identity.model_dump(mode="json"),
        **told,
        "failures": [f.model_dump(mode="json") for f in run.failures],
        "notes": [*(s for m in measures for s in m.surprises(run)), *notes(run)],
    }


def print_summary(run: Run, directory: Path, program: str) -> None:
    """Print what a run comes to. program: how commands are typed, for what to do next. Writes the run's page if it is old."""
    print("\n".join(about(run)) + "\n")
    first = [t for m in all_measures() for s in m.headline(run) if s.bare for t in s.tables]
    for table in first or [all_files(run, everywhere=True)]:
        print_table(table.frame)
        print(f"\n{table.key}\n")
    short = [s for m in all_measures() for s in m.shortfalls(run)]
    for title, said in (("Findings", findings(run)[:_TOLD]), ("Missing", short)):
        if said:
            print(f"{title}\n" + "".join(f"- {s}\n" for s in said))
    report = write_report(run, directory, only_if_older=True) if run.files else None
    if report:
        print(f"Report: {report.absolute().as_uri()}")
    print(f"All tables: {directory / 'tables' / 'tables.md'}")
    print(f"Records: {directory / FILE_NAME}")
    print(f"Which file suits this machine: {program} advise --run {directory}")
    print(f"A model card: {program} card {directory}")


def room() -> int | None:
    """Characters in a line of the terminal; None where standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_table(frame: pd.DataFrame) -> None:
    """A table as Markdown; on a terminal as wide as it is, without the columns on the right that do not fit."""
    if not sys.stdout.isatty():
        print(markdown(frame))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    columns = [str(c) for c in frame.columns]
    cells = {c: [str(x) for x in frame[c]] for c in columns}
    shown = fitting({c: max(map(len, [c, *cells[c]])) for c in columns}, console.width)
    table = Table(show_edge=False, pad_edge=False)
    for i, c in enumerate(shown):
        table.add_column(c, justify="left" if i == 0 else "right", no_wrap=True)
    for row in zip(*(cells[c] for c in shown), strict=True):
        table.add_row(*row)
    console.print(table, markup=False)
    if left_out := [c for c in columns if c not in shown]:
        console.print(f"Left out for want of room: {', '.join(left_out)}", markup=False, highlight=False)


def fitting(widths: dict[str, int], room: int) -> list[str]:
    """The columns that fit side by side, from the left: all of them, or as many as there is room for, at least one.

    widths: of every column, in characters; three more stand between two.
    """
    shown: list[str] = []
    used = -3
    for column, width in widths.items():
        used += width + 3
        if shown and used > room:
            break
        shown.append(column)
    return shown
