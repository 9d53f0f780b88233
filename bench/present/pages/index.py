"""The index of published runs, newest first: index.html for a site, README.md for readers of the files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.core.formats import markdown
from bench.measures.registry import all_measures, load_run
from bench.present.pages.rendering import heading, render
from bench.present.pages.report import REPORT, labelled, verdicts
from bench.present.pages.tables import Table, of_table
from bench.records.describe import about
from bench.records.run import FILE_NAME, Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Entry:
    """A published run in the index. name: of its directory; started: when, as text that sorts; tables: its headline tables,
    frames: the same for Markdown; said: how its comparisons came out, the headline first."""

    name: str
    model: str
    started: str
    about: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    frames: tuple[pd.DataFrame, ...]
    said: tuple[str, ...]
    files: int

    @property
    def address(self) -> str:
        """The directory as a part of an address."""
        return quote(self.name)

    @property
    def date(self) -> str:
        return f"{datetime.fromisoformat(self.started):%Y-%m-%d}"

    @property
    def headline(self) -> str:
        """What the run comes to, in a sentence."""
        return self.said[0] if self.said else f"{self.files} files were measured"


@dataclass(frozen=True)
class Other:
    """Something published that is no run. path: of its text, beside the index."""

    title: str
    path: str


def write_index(results: Path) -> list[Path]:
    """Write index.html and README.md over all runs in `results`; returns their paths. Raises BenchError for a directory without runs."""
    found = [_entry(p.parent.name, load_run(p.parent)) for p in _published(results, FILE_NAME)]
    entries = sorted(found, key=lambda e: e.started, reverse=True)
    if not entries:
        raise BenchError(f"{results}: has no run in it; name the directory that the runs' directories are in")
    others = [Other(heading(p), p.relative_to(results).as_posix()) for p in _published(results, "*.md")]
    texts = {
        "index.html": render("index.html.jinja", {"title": "Published runs", "entries": entries, "others": others}),
        "README.md": _index_text(entries, others),
    }
    for name, text in texts.items():
        with complete_or_absent(results / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return [results / name for name in texts]


def _published(results: Path, pattern: str) -> list[Path]:
    """Files in directories of `results`, those of the user's own runs left out."""
    return sorted(p for p in results.glob(f"*/{pattern}") if p.parent.name != "local")


def _entry(name: str, run: Run) -> Entry:
    shown = [t for m in all_measures() for t in m.summary_tables(run)]
    return Entry(
        name=name,
        model=run.identity.model.name,
        started=run.header.started,
        about=tuple(labelled(about(run))),
        tables=tuple(of_table(t, run, by_family=False) for t in shown),
        frames=tuple(t.frame for t in shown),
        said=tuple(verdicts(run)),
        files=len(run.files),
    )


def _index_text(entries: list[Entry], others: list[Other]) -> str:
    parts = [
        "# Published runs",
        "Made by `nox -s publish` out of the records beside it; [index.html](index.html) is the same as a page.",
        "\n".join(f"- [{e.name}]({e.address}/{REPORT}), {e.date}, {e.model}: {e.headline}" for e in entries),
    ]
    for entry in entries:
        base = entry.address
        parts += [f"## {entry.name}", "\n".join(f"- {label}: {text}" for label, text in entry.about)]
        for shown, frame in zip(entry.tables, entry.frames, strict=True):
            key = "\n".join(f"- {line}" for line in shown.key)
            parts += [f"{shown.caption}:", markdown(frame), f"Key\n{key}"]
        if entry.said:
            parts.append("\n".join(f"- {line}" for line in entry.said))
        parts.append(
            f"All {entry.files} files: [report]({base}/{REPORT}), [tables]({base}/tables/tables.md), "
            f"[CSV]({base}/tables/full.csv), [records]({base}/{FILE_NAME})"
        )
    if others:
        parts += ["## Beside the runs", "\n".join(f"- [{o.title}]({quote(str(o.path))})" for o in others)]
    return "\n\n".join(parts) + "\n"
