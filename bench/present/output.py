"""What a run leaves behind for people: tables as Markdown and CSV, plots as PNG and SVG, all out of its records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from bench.gguf_files.info import complete_or_absent
from bench.measures.problems import tables as problem_tables
from bench.measures.propagation import tables as propagation_tables
from bench.measures.samples.tables import samples_text
from bench.measures.windows import tables
from bench.measures.windows.agreement import agreement, as_llama_prints
from bench.measures.windows.equal_size import KEY as EQUAL_SIZE_KEY
from bench.measures.windows.equal_size import equal_size_summary, equal_size_table
from bench.present.notes import notes, surprises
from bench.records.run import FILE_NAME, Run


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
            sections["Notes"] = "\n".join(f"- {n}" for n in self.notes)
        return (
            "\n\n".join([f"# {self.title}", self.headline, *(f"## {t}\n\n{text}" for t, text in sections.items())])
            + "\n"
        )


def summarize(run: Run) -> Summary:
    i = run.identity
    gated = [p.gated or "" for p in tables.pairs(run)]
    fields = {
        "window": i.settings.window,
        "windows": i.windows,
        "isa": i.library.isa,
        "threads": i.settings.threads,
        "prompts": i.prompts.name,
        "gated": "".join(gated[:1]) + (" and so on" if len(gated) > 1 else ""),
    }
    published, paired = tables.published_table(run), tables.paired_table(run)
    headline = ["\n".join(f"- {line}" for line in about(run))]
    if len(published):
        headline += [tables.markdown(published), tables.PUBLISHED_KEY.format(**fields)]
    if len(paired):
        headline += ["## Against Standard of the same type, paired", tables.markdown(paired)]
    if surprising := surprises(run):
        headline.append("\n".join(f"- {s}" for s in surprising))
    details = {"All files": f"{tables.markdown(tables.full_table(run))}\n\n{tables.FULL_KEY.format(**fields)}"}
    if len(reference := tables.reference_table(run)):
        details["Against the reference"] = f"{tables.markdown(reference)}\n\n{tables.REFERENCE_KEY}"
    if not equal_size_table(run).empty:
        details["At equal size"] = equal_size(run)
    if len(kinds := tables.kinds_table(run)):
        details["Perplexity by kind of prompt"] = tables.markdown(kinds)
    if len(kinds := tables.kl_kinds_table(run)):
        details["KL divergence from the reference by kind of prompt"] = tables.markdown(kinds)
    for problems in run.problem_sets:
        parts = [tables.markdown(problem_tables.problem_table(run, problems)), problem_tables.key(run, problems)]
        if len(groups := problem_tables.groups_table(run, problems)):
            parts += ["Perplexity by group:", tables.markdown(groups)]
        details[problem_tables.title(problems)] = "\n\n".join(parts)
    if run.samples:
        details["Samples"] = samples_text(run)
    if len(others := tables.others_table(run)):
        details["Files of others"] = tables.markdown(others)
    if len(propagated := propagation_tables.propagation_table(run)):
        parts = [tables.markdown(propagated), propagation_tables.KEY]
        if len(against := propagation_tables.paired_propagation_table(run)):
            parts += ["Against Standard of the same type, paired:", tables.markdown(against)]
        details["Error propagation"] = "\n\n".join(parts)
    return Summary(f"Quantizations of {i.model.name}", "\n\n".join(headline), details, tuple(notes(run)))


def equal_size(run: Run, *, against: str | None = None) -> str:
    """The table of recipes held against others of their size, with what all of it comes to.

    against: show only what is held against recipes of this family, as README does.
    """
    summary = "\n".join(f"- {s}" for s in equal_size_summary(run))
    table = equal_size_table(run, against=against)
    shown = f"Of these, {len(table)} are against recipes of the family {against}:\n\n" if against else ""
    return "\n\n".join([summary, shown + tables.markdown(table), EQUAL_SIZE_KEY])


def about(run: Run) -> list[str]:
    """What was measured on what, a line each."""
    i, reference = run.identity, run.files.get(run.reference or "")
    weights = f"{i.model.architecture}, {i.model.n_layers} layers, {i.model.n_weights / 1e6:,.0f}M weights"
    about = [
        f"Model: {i.model.name} ({weights}). {i.model.description or ''}".strip(),
        *([f"Fetched from: {reference.origin}"] if reference and reference.origin else []),
        f"Text: {i.prompts.name}, {tables.windows_text(run)}. Importance matrix: {_importance(run)}.",
        f"Machine: {i.machine}; {i.settings.threads} threads, {i.library.isa} kernels, "
        f"llama-cpp-python {i.library.binding}.",
    ]
    if run.records:
        started = datetime.fromisoformat(run.header.started)
        about.append(f"Run: {started:%Y-%m-%d}, {worked_minutes(run):.0f} minutes of work.")
    return about


#: A gap between records that is longer than this, in seconds, or than so many windows take, is between sittings.
_SITTING_GAP, _SLOW = 900, 50


def worked_minutes(run: Run) -> float:
    """From start to last record, without the time between sittings."""
    times = sorted(datetime.fromisoformat(t) for t in (run.header.started, *(r.time for r in run.records)))
    gaps = [(b - a).total_seconds() for a, b in pairwise(times)]
    slowest = max((w.result.seconds for by_window in run.windows.values() for w in by_window.values()), default=0.0)
    return sum(g for g in gaps if g <= max(_SITTING_GAP, _SLOW * slowest)) / 60


def _kl_statistics(run: Run) -> str:
    """Every recipe's statistics against the reference by the names that llama-perplexity prints them with."""
    reference = run.results(run.reference)
    parts = []
    for name in run.files:
        windows = run.results(name)
        if reference and windows and (found := agreement(reference, windows)):
            parts.append("\n".join([f"# {name}", "", *as_llama_prints(found)]))
    return "\n\n".join(parts) + "\n"


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
        from bench.present.plots import write_plots  # matplotlib takes a second to import

        write_plots(run, plots)
        # tables.md is written last: where it is, everything is
        texts = {
            "comparison.csv": tables.published_table(run).to_csv(index=False),
            "kl-divergence.txt": _kl_statistics(run),
            "full.csv": tables.full_frame(run).to_csv(index=False),
            "tables.md": summarize(run).markdown,
        }
        for name, text in texts.items():
            with complete_or_absent(tables_file.with_name(name)) as partial:
                partial.write_text(text, encoding="utf-8")
    return [tables_file, *sorted(plots.glob("*.png"))]


def _newer(file: Path, than: Path) -> bool:
    return file.is_file() and file.stat().st_mtime >= than.stat().st_mtime
