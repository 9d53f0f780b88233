"""Output of a run for people: tables as Markdown and CSV, plots as PNG and SVG, all from its records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.core.files import complete_or_absent
from bench.core.formats import markdown, no_markup, no_markup_in
from bench.measures.registry import all_measures
from bench.present.files import all_files, others
from bench.present.markdown import headed, section_text
from bench.present.notes import notes
from bench.records.describe import about
from bench.records.run import FILE_NAME, Run

_SURPRISES = 2
"""Lines of the headline that tell surprises; the rest have a section of their own."""


@dataclass(frozen=True)
class Summary:
    """The texts of a run, ready to print. headline: what README quotes; details: the other tables by their titles."""

    title: str
    headline: str
    details: dict[str, str]
    notes: tuple[str, ...]

    @property
    def markdown(self) -> str:
        sections = dict(self.details)
        if self.notes:
            sections["Notes"] = "\n".join(f"- {no_markup(n)}" for n in self.notes)
        return (
            "\n\n".join([f"# {self.title}", self.headline, *(f"## {t}\n\n{text}" for t, text in sections.items())])
            + "\n"
        )


def summarize(run: Run) -> Summary:
    """All that the records of a run have to tell, as Markdown."""
    headline = ["\n".join(f"- {no_markup(line)}" for line in about(run))]
    for section in (s for m in all_measures() for s in m.headline(run)):
        headline += [section_text(section)] if section.bare else [f"## {section.title}", section_text(section)]
    surprising = [s for m in all_measures() for s in m.surprises(run)]
    if few := surprising if len(surprising) <= _SURPRISES else surprising[: _SURPRISES - 1]:
        rest = len(surprising) - len(few)
        headline.append(
            "\n".join(
                f"- {no_markup(s)}"
                for s in (
                    *few,
                    *([f"{rest} more findings of this kind are under Surprises in tables.md"] if rest else []),
                )
            )
        )
    files = all_files(run, everywhere=True)
    details = {"All files": f"{markdown(files.frame)}\n\n{no_markup_in(files.key)}"}
    if len(surprising) > len(few):
        details["Surprises"] = "\n".join(f"- {no_markup(s)}" for s in surprising)
    for section in (*(s for m in all_measures() for s in m.sections(run)), *others(run)):
        details |= dict(headed(section))
    title = f"Quantizations of {no_markup(run.identity.model.name)}"
    return Summary(title, "\n\n".join(headline), details, tuple(notes(run)))


def write_outputs(run: Run, directory: Path, *, only_if_older: bool = False) -> list[Path]:
    """Write tables/ and plots/ beside the records; returns the files a reader starts with.

    only_if_older: leave them alone when they were made after the last record was.
    """
    tables_file, plots = directory / "tables" / "tables.md", directory / "plots"
    if not (only_if_older and is_newer(tables_file, directory / FILE_NAME)):
        from bench.present.plots import write_plots

        write_plots(run, plots)
        # tables.md is written last: where it is, everything is
        texts = {name: text for m in all_measures() for name, text in m.files(run).items()}
        for name, text in (texts | {"tables.md": summarize(run).markdown}).items():
            with complete_or_absent(tables_file.with_name(name)) as partial:
                partial.write_text(text, encoding="utf-8")
    return [tables_file, *sorted(plots.glob("*.png"))]


def is_newer(file: Path, than: Path) -> bool:
    """Whether a file is there and was written after another, or the other is not there."""
    return file.is_file() and (not than.is_file() or file.stat().st_mtime >= than.stat().st_mtime)
