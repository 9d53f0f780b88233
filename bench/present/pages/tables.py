"""Tables as a page shows them: text out of the same functions as everywhere, with the numbers that columns are sorted by."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.measures.problems import tables as problem_tables
from bench.measures.propagation import tables as propagation_tables
from bench.measures.samples import tables as sample_tables
from bench.measures.windows import tables
from bench.measures.windows.equal_size import KEY as EQUAL_SIZE_KEY
from bench.measures.windows.equal_size import equal_size_table
from bench.measures.windows.tables import MISSING
from bench.records.run import Run

if TYPE_CHECKING:
    import pandas as pd

_NUMBER = re.compile(r"^([+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|inf))(M|G|s|%)?(?![\w.])")
_UNITS = {"M": 1e6, "G": 1e9, "%": 0.01}
#: A table of more rows than this can be filtered.
_FEW = 8
#: Columns of the table of all files with what they are sorted by: the numbers themselves, of which the text is a rounding.
_RAW = {
    "Size": "bytes",
    "BPW": "bits_per_weight",
    "PPL [95 %]": "ppl",
    "SE": "ppl_se",
    "vs reference": "ppl_change_vs_reference",
    "KL [95 %]": "kl",
    "Same top [95 %]": "same_top",
    "Window": "window_seconds",
    "pp": "prompt_tokens_per_second",
    "tg": "generation_tokens_per_second",
    "Memory": "peak_memory_bytes",
    "Load": "load_seconds",
}


@dataclass(frozen=True)
class Cell:
    """main: the figure; aside: its interval or spread; value: what sorting goes by, None for text and where there is no figure."""

    main: str
    aside: str = ""
    value: str | None = None

    @property
    def text(self) -> str:
        return f"{self.main} {self.aside}".rstrip()


@dataclass(frozen=True)
class Table:
    """columns: (title, aside); numeric: of every column; groups: what the rows can be chosen by beside their text, empty for nothing."""

    name: str
    caption: str
    columns: tuple[tuple[str, str], ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    key: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def filtered(self) -> bool:
        return len(self.rows) > _FEW


@dataclass(frozen=True)
class Section:
    """Tables under one heading. quote: text that they are about."""

    title: str
    name: str
    tables: tuple[Table, ...]
    quote: str = ""


#: Columns that hold text, whatever it begins with.
_TEXTS = frozenset(
    {"Recipe", "Completion", "Verdict", "Time", "Against", "From", "Weights by type", "Its header says", "Made"}
)


def table(
    name: str,
    caption: str,
    frame: pd.DataFrame,
    *,
    key: str = "",
    values: Mapping[str, Sequence[float]] | None = None,
    groups: Sequence[str] = (),
) -> Table:
    """A table of text for a page. values: numbers of columns to sort by; those of others are read off their text."""
    columns = [str(c) for c in frame.columns]
    texts = {c: [str(x) for x in frame[c]] for c in columns}
    numbers = {
        c: [None if math.isnan(v) else float(v) for v in values[c]]
        if values is not None and c in values
        else [number(t) for t in texts[c]]
        for c in columns
    }
    numeric = {
        c: c not in _TEXTS and all(n is not None or t == MISSING for n, t in zip(numbers[c], texts[c], strict=True))
        for c in columns
    }
    cells = [[_cell(t, n, numeric[c]) for t, n in zip(texts[c], numbers[c], strict=True)] for c in columns]
    return Table(
        name=name,
        caption=caption,
        columns=tuple(_split(c) for c in columns),
        numeric=tuple(numeric[c] for c in columns),
        rows=tuple(zip(*cells, strict=True)),
        key=key_lines(key),
        groups=tuple(groups) if len(set(groups)) > 1 else (),
    )


def number(text: str) -> float | None:
    """The number that a figure begins with, in its base unit: 2.5G is 2.5e9; None for text."""
    found = _NUMBER.match(text)
    return None if found is None else float(found[1]) * _UNITS.get(found[2] or "", 1.0)


def _cell(text: str, value: float | None, numeric: bool) -> Cell:
    if not numeric:
        return Cell(text)
    # 12 digits: the last of a double are not the same with every build of numpy, and published pages are compared by bytes
    shown = None if value is None else "Infinity" if value == math.inf else f"{value:.12g}"
    return Cell(*_split(text), shown)


def _split(text: str) -> tuple[str, str]:
    """A figure and its interval or spread; the title of a column and what it says of them."""
    at = re.search(r" (?=\[|± )", text)
    return (text[: at.start()], text[at.end() :]) if at else (text, "")


def key_lines(key: str) -> tuple[str, ...]:
    return tuple(line.removeprefix("- ") for line in key.splitlines() if line not in ("", "Key"))


def published(run: Run) -> Table | None:
    """The published form; None for a run without the method's files."""
    frame = tables.published_table(run)
    gated = [p.gated or "" for p in tables.pairs(run)]
    key = tables.PUBLISHED_KEY.format(**key_fields(run), gated=", ".join(gated))
    return (
        table("published", "Perplexity, size and speed of Standard and DynamicGate", frame, key=key)
        if len(frame)
        else None
    )


def key_fields(run: Run) -> dict[str, object]:
    """What the keys of tables name of a run."""
    i = run.identity
    return {
        "window": i.settings.window,
        "windows": i.windows,
        "isa": i.library.isa,
        "threads": i.settings.threads,
        "prompts": i.prompts.name,
    }


def all_files(run: Run) -> Table:
    """Every file with its family and its distance from the reference, sorted by the numbers themselves."""
    import pandas as pd

    raw, frame, reference = tables.full_frame(run), tables.full_table(run), tables.reference_table(run)
    frame.insert(1, "Family", raw["family"].to_list())
    for column in ("KL [95 %]", "Same top [95 %]"):
        if column in reference:
            found = dict(zip(reference["Recipe"], reference[column], strict=True))
            frame.insert(list(frame.columns).index("Window"), column, [found.get(r, MISSING) for r in frame["Recipe"]])
    values = {
        column: pd.to_numeric(raw[name]).to_list() for column, name in _RAW.items() if column in frame and name in raw
    }
    key = tables.FULL_KEY.format(**key_fields(run))
    if "KL [95 %]" in frame:
        key += "".join(f"\n{line.partition('; ')[0]}" for line in tables.REFERENCE_KEY.splitlines()[1:3])
    return table(
        "all", "Size, quality and speed of every file", frame, key=key, values=values, groups=raw["family"].to_list()
    )


def sections(run: Run) -> list[Section]:
    """Every other table that the run has the figures for."""
    found: list[Section] = []

    def add(title: str, name: str, *made: Table) -> None:
        if any(t.rows for t in made):
            found.append(Section(title, name, tuple(t for t in made if t.rows)))

    families = {n: f.family for n, f in run.files.items()}

    def of(name: str, caption: str, frame: pd.DataFrame, key: str = "") -> Table:
        groups = [families[r] for r in frame["Recipe"]] if "Recipe" in frame else []
        return table(name, caption, frame, key=key, groups=groups)

    paired = tables.paired_table(run)
    add("Against Standard of the same type, paired", "paired", of("paired-table", "Paired with Standard", paired))
    sizes = of("equal-size-table", "Held against a recipe of the same size", equal_size_table(run), EQUAL_SIZE_KEY)
    add("At equal size", "equal-size", sizes)
    reference = of("reference-table", "Distance from the reference", tables.reference_table(run), tables.REFERENCE_KEY)
    add("Against the reference", "reference", reference)
    add(
        "By kind of prompt",
        "kinds",
        of("kinds-ppl", "Perplexity by kind of prompt", tables.kinds_table(run)),
        of("kinds-kl", "KL divergence from the reference by kind of prompt, in nats", tables.kl_kinds_table(run)),
    )
    for n, problems in enumerate(run.problem_sets):
        title, key = problem_tables.title(problems), problem_tables.key(run, problems)
        scored = of(f"problems-{n}-scores", title, problem_tables.problem_table(run, problems), key)
        groups = of(f"problems-{n}-groups", f"{title}: perplexity by group", problem_tables.groups_table(run, problems))
        add(title, f"problems-{n}", scored, groups)
    add(
        "Error propagation",
        "propagation",
        of(
            "propagation-table",
            "Error of the hidden states along the depth",
            propagation_tables.propagation_table(run),
            propagation_tables.KEY,
        ),
        of(
            "propagation-paired",
            "Error of the hidden states, paired with Standard",
            propagation_tables.paired_propagation_table(run),
        ),
    )
    add("Files of others", "others", of("others-table", "Files that were not built here", tables.others_table(run)))
    return found


def sample_sections(run: Run) -> list[Section]:
    """What every file wrote after each prompt, with how far they agree first; empty without samples."""
    if not run.samples:
        return []
    record = next(iter(run.samples.values()))
    agreeing = sample_tables.agreement_table(run)
    key = sample_tables.KEY.format(limit=record.limit) + "; ∎ stands for an end that the model wrote itself"
    found = []
    if len(agreeing):
        found.append(
            Section("Over all prompts", "samples-all", (table("samples-agreement", "Agreement with the reference", agreeing, key=key),))
        )  # fmt: skip
    for n, (name, prompt) in enumerate(record.prompts):
        frame = sample_tables.samples_table(run, n, markdown=False)
        made = table(f"samples-{n}-table", f"Completions of {name}", frame)
        found.append(Section(name, f"samples-{n}", (made,), quote=prompt))
    return found
