"""Tables of a page: text from the same functions as everywhere, with the numbers that columns are sorted by."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.core.formats import MISSING
from bench.measures import sections
from bench.measures.registry import all_measures
from bench.present.files import all_files, others
from bench.records.resolution import resolution
from bench.records.run import Run

if TYPE_CHECKING:
    import pandas as pd

_NUMBER = re.compile(r"^([+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|inf))(M|G|s|%)?(?![\w.])")
_UNITS = {"M": 1e6, "G": 1e9, "%": 0.01}
#: A table of more rows than this can be filtered.
_FEW = 8
#: Columns can be chosen of a table that has more.
_NARROW = 6


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
    """columns: (title, aside); numeric: of every column; groups: what the rows can be chosen by beside their text, empty for
    nothing; untold: rows of files that the run's reference cannot judge."""

    name: str
    caption: str
    columns: tuple[tuple[str, str], ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    key: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    untold: frozenset[int] = frozenset()

    @property
    def filtered(self) -> bool:
        return len(self.rows) > _FEW

    @property
    def choosable(self) -> tuple[str, ...]:
        """Titles of the columns that a reader may hide; none of a table that is narrow anyway."""
        return tuple(title for title, _ in self.columns[1:]) if len(self.columns) > _NARROW else ()


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
    untold: Collection[str] = (),
) -> Table:
    """A table of text for a page. values: numbers of columns to sort by; those of others are read off their text; untold: names
    in the first column that are files which the run's reference cannot judge."""
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
        untold=frozenset(i for i, name in enumerate(texts[columns[0]]) if name in untold) if columns else frozenset(),
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


def of_section(section: sections.Section, run: Run) -> Section:
    """A measure's section as a page shows it, its rows to be chosen by the families of their files."""
    return Section(section.title, section.name, tuple(of_table(t, run) for t in section.tables))


def of_table(made: sections.Table, run: Run, *, by_family: bool = True) -> Table:
    """A measure's table as a page shows it. by_family: whether its rows can be chosen by the families of their files."""
    groups = [run.files[r].family for r in made.frame["Recipe"]] if by_family and "Recipe" in made.frame else []
    key = made.page_key or made.key
    return table(
        made.name,
        made.caption,
        made.frame,
        key=key,
        values=made.values,
        groups=groups,
        untold=resolution(run).beyond,
    )


def page_sections(run: Run) -> list[Section]:
    """Every table but the first ones and the folded, in the order of a page."""
    found: list[sections.Section] = []
    for measure in all_measures():
        own = [s for s in measure.headline(run) if not s.bare]
        own += sorted((s for s in measure.sections(run) if not s.folded), key=lambda s: s.place)
        found += own
    return [of_section(s, run) for s in (*found, *others(run))]


def first_tables(run: Run) -> list[Table]:
    """What a page begins with."""
    made = [s for m in all_measures() for s in m.headline(run) if s.bare]
    return [of_table(t, run, by_family=False) for s in made for t in s.tables]


def folded_sections(run: Run) -> list[tuple[str, str, list[Section]]]:
    """(title, name, parts) of what opens on demand: each quoted table is a part, those before it stand open."""
    found = []
    for section in (s for m in all_measures() for s in m.sections(run) if s.folded):
        parts = []
        for n, made in enumerate(section.tables):
            title = made.label or made.caption
            parts.append(
                Section(title, f"{section.name}-{n}", (of_table(made, run, by_family=False),), quote=made.quote)
            )
        found.append((section.title, section.name, parts))
    return found


def files_table(run: Run) -> Table:
    """Every file with its family and all its columns, sorted by the numbers themselves."""
    return of_table(all_files(run, everywhere=False), run)
