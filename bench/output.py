"""What a run leaves behind for people: tables as Markdown and CSV, plots as PNG and SVG, all out of its records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench import tables
from bench.gguf_io import complete_or_absent
from bench.results import FILE_NAME, Run, newest_time


@dataclass(frozen=True)
class Summary:
    """The texts of a run, ready to print."""

    title: str
    comparison: str
    full: str
    notes: tuple[str, ...]

    @property
    def markdown(self) -> str:
        notes = [f"- {n}" for n in self.notes]
        parts = [
            f"# {self.title}",
            self.comparison,
            "## All files",
            self.full,
            *(["## Notes", "\n".join(notes)] if notes else []),
        ]
        return "\n\n".join(parts) + "\n"


def summarize(run: Run) -> Summary:
    i = run.identity
    fields = {
        "window": i.settings.window,
        "windows": i.windows,
        "isa": i.library.isa,
        "threads": i.settings.threads,
        "prompts": i.prompts.name,
    }
    published, paired = tables.published_table(run), tables.paired_table(run)
    comparison = f"{tables.markdown(published)}\n\n{tables.PUBLISHED_KEY.format(**fields)}" if len(published) else ""
    if len(paired):
        comparison += f"\n\n## DynamicGate against Standard, paired\n\n{tables.markdown(paired)}"
    about = [
        f"Model: {i.model.name} ({i.model.architecture}, {i.model.n_layers} layers, {i.model.n_weights / 1e6:,.0f}M weights). {i.model.description or ''}".strip(),
        f"Text: {i.prompts.name}, {tables.windows_text(run)}. Importance matrix: {_importance(run)}.",
        f"Machine: {i.machine}; {i.settings.threads} threads, {i.library.isa} kernels, llama-cpp-python {i.library.binding}.",
    ]
    if run.records:
        started, ended = datetime.fromisoformat(run.header.started), datetime.fromisoformat(newest_time(run.records))
        about.append(
            f"Run: {started:%Y-%m-%d}, {(ended - started).total_seconds() / 60:.0f} minutes from start to last record."
        )
    return Summary(
        title=f"Quantizations of {i.model.name}",
        comparison="\n".join(f"- {line}" for line in about) + (f"\n\n{comparison}" if comparison else ""),
        full=f"{tables.markdown(tables.full_table(run))}\n\n{tables.FULL_KEY.format(**fields)}",
        notes=tuple(tables.notes(run)),
    )


def _importance(run: Run) -> str:
    importance = run.identity.importance
    if importance is None:
        return "none"
    return f"{'computed from ' if importance.source == 'collected' else ''}{importance.name}"


def write_outputs(run: Run, directory: Path, *, only_if_older: bool = False) -> list[Path]:
    """Write tables/ and plots/ beside the records; returns the files a reader starts with.

    only_if_older: leave them alone when they were made after the last record was.
    """
    tables_file, plots = directory / "tables" / "tables.md", directory / "plots"
    if not (only_if_older and _newer(tables_file, directory / FILE_NAME)):
        from bench.plots import write_plots  # matplotlib takes a second to import

        write_plots(run, plots)
        # tables.md is written last: where it is, everything is
        texts = {
            "comparison.csv": tables.published_table(run).to_csv(index=False),
            "full.csv": tables.full_frame(run).to_csv(index=False),
            "tables.md": summarize(run).markdown,
        }
        for name, text in texts.items():
            with complete_or_absent(tables_file.with_name(name)) as partial:
                partial.write_text(text, encoding="utf-8")
    return [tables_file, *sorted(plots.glob("*.png"))]


def _newer(file: Path, than: Path) -> bool:
    return file.is_file() and file.stat().st_mtime >= than.stat().st_mtime
