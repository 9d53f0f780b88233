"""The output of a measure: tables of text under headings, for Markdown, pages and cards alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Table:
    """A table of text. name: of the table in a page; caption: what it shows; key: what its columns mean, `Key` and a line each.

    page_key: the same for a page, where that says more; label: stands above it in Markdown; heading: instead of that, it is
    a section of its own there; quote: a text that it is about; text: a last column of long texts; values: numbers that columns are sorted by,
    where their text does not tell.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    key: str = ""
    page_key: str = ""
    label: str = ""
    heading: str = ""
    quote: str = ""
    text: str | None = None
    values: Mapping[str, Sequence[float]] | None = None


@dataclass(frozen=True)
class Section:
    """Tables under one heading. said: sentences before them. bare: without its heading in Markdown, and first in a page.

    folded: in a page it stands behind the other sections, and each quoted table in it opens on demand; place: its order among
    those of the measure in a page, where that is another than in Markdown.
    """

    title: str
    name: str
    tables: tuple[Table, ...]
    said: tuple[str, ...] = ()
    bare: bool = False
    folded: bool = False
    place: int = 0


@dataclass(frozen=True)
class FileColumn:
    """A column that a measure adds to the tables of all files.

    cells: text by file, of which some may be missing; values: what they are sorted by, None for their text; everywhere: also in
    the Markdown table of all files; card: what a model card says of it, None where it is not to be in one.
    """

    title: str
    cells: Mapping[str, str]
    values: Mapping[str, float] | None = None
    everywhere: bool = True
    card: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """A figure as a model card states it for programs. value: smaller is better; metric: its identifier on the hub."""

    metric: str
    name: str
    value: float
