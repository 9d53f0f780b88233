"""The screen output of `run` and `tables`: the headline, the findings, and the place of everything else."""

from __future__ import annotations

from pathlib import Path

from bench.advise.findings import findings
from bench.cli.table import Look, folded, print_table, room
from bench.measures.registry import all_measures
from bench.present.files import all_files
from bench.present.notes import notes
from bench.present.pages.report import write_report
from bench.records.describe import about
from bench.records.run import FILE_NAME, Run

__all__ = ["print_summary", "print_table", "run_as_json"]

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


def print_summary(run: Run, directory: Path, program: str, look: Look | None = None) -> None:
    """Print what a run comes to. program: how commands are typed, for what to do next. Writes the run's page if it is old."""
    width = room()
    if width:
        print()  # below what is left of the live display
    print(folded("\n".join(about(run)), width) + "\n")
    first = [t for m in all_measures() for s in m.headline(run) if s.bare for t in s.tables]
    for table in first or [all_files(run, everywhere=True)]:
        print_table(table.frame, look)
        print(f"\n{folded(table.key, width)}\n")
    short = [s for m in all_measures() for s in m.shortfalls(run)]
    for title, said in (("Findings", findings(run)[:_TOLD]), ("Missing", short)):
        if said:
            print(f"{title}\n" + "".join(folded(f"- {s}", width) + "\n" for s in said))
    report = write_report(run, directory, only_if_older=True) if run.files else None
    if report:
        print(f"Report: {report.absolute().as_uri()}")
    print(f"All tables: {directory / 'tables' / 'tables.md'}")
    print(f"Records: {directory / FILE_NAME}")
    print(f"Which file suits this machine: {program} advise --run {directory}")
    print(f"A model card: {program} card {directory}")
