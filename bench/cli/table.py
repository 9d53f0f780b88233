"""Tables as wide as the terminal; Markdown where the output goes elsewhere.

Where room is short, headings are folded first, then intervals are left out, and then the columns that matter least. Names in the
first column are folded where they would take more than half of it.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.core.formats import markdown

if TYPE_CHECKING:
    import pandas as pd

#: Headings of the columns that matter most, after the first one, which says what a row is of. Others follow from the left.
_IMPORTANT = (
    r"Δ PPL",
    r"PPL",
    r"(DG |Std )?Size|Bytes",
    r"vs reference",
    r"Verdict",
    r"KL|Δ KL",
    r"Same top",
    r"Against|A|B|Worse",
)
#: A cell or heading with an interval: `0.1 [0.0, 0.2]`, `KL [95 %]`.
_INTERVAL = re.compile(r" ?\[[^\]]*\]")
#: Spaces between two columns; characters in a line of a cell of text, which is folded.
_GAP, _TEXT = 2, 24


@dataclass(frozen=True)
class Look:
    """How tables are shown. form: `md` or `table`, None for what suits where they go; intervals: whether to show them even where
    other columns must go for it."""

    form: Literal["md", "table"] | None = None
    intervals: bool = False

    @property
    def is_table(self) -> bool:
        return self.form == "table" or (self.form is None and sys.stdout.isatty())


def room() -> int | None:
    """Characters in a line of the terminal; None where standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def folded(text: str, room: int | None) -> str:
    """Lines of text, folded between words to the width of the terminal; what is no words, as a path, stays whole."""
    if room is None:
        return text
    return "\n".join(
        textwrap.fill(
            line,
            room,
            subsequent_indent="  " if line.startswith("- ") else "",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.splitlines()
    )


def beside(name: str, text: str, width: int, room: int | None) -> str:
    """A name in a column of so many characters with a text beside it, folded to the width of the terminal where there is one."""
    if room is None:
        return f"{name:<{width}}{text}"
    return textwrap.fill(
        text,
        room,
        initial_indent=f"{name:<{width}}",
        subsequent_indent=" " * width,
        break_long_words=False,
        break_on_hyphens=False,
    )


def print_table(frame: pd.DataFrame, look: Look | None = None) -> None:
    """A table as Markdown, or on a terminal as wide as it is. look: as it was asked for, None where it cannot be."""
    can_ask, look = look is not None, look or Look()
    if frame.columns.empty:
        return
    if not look.is_table:
        print(markdown(frame))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    width = shutil.get_terminal_size().columns
    console = Console(width=width, highlight=False)
    columns = {str(c): [str(x) for x in frame[c]] for c in frame.columns}
    shown = fit(columns, width, intervals=look.intervals)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), collapse_padding=True)
    others = sum(_GAP + _width(h, cells) for h, cells in [*shown.items()][1:])
    for i, (heading, cells) in enumerate(shown.items()):
        table.add_column(
            _folded(heading, cells),
            justify="left" if i == 0 or _is_text(cells) else "right",
            vertical="top",
            no_wrap=not (i == 0 or _is_text(cells)),
            overflow="fold",  # a name has no spaces to fold at
            width=min(_width(heading, cells), width - others) if i == 0 else _width(heading, cells),
        )
    for row in zip(*shown.values(), strict=True):
        table.add_row(*row)
    console.print(table, markup=False)
    for said in _left_out(columns, shown, can_ask=can_ask):
        console.print(said, markup=False)


def fit(columns: Mapping[str, Sequence[str]], room: int, *, intervals: bool = False) -> dict[str, list[str]]:
    """What of a table is shown side by side in so many characters: headings with cells, at least the first column, which takes half of
    them at most beside others.

    intervals: whether they stay whatever it costs.
    """
    whole = {h: list(cells) for h, cells in columns.items()}
    short = whole if intervals else {h: _without_interval(h, cells)[1] for h, cells in whole.items()}
    headings = {h: h if intervals else _without_interval(h, whole[h])[0] for h in whole}
    first, *others = whole
    ranked = [first, *sorted(others, key=lambda h: (_rank(h), others.index(h)))]
    kept, used = [first], min(_width(headings[first], short[first]), room // 2)
    for h in ranked[1:]:
        needed = _GAP + _width(headings[h], short[h])
        if used + needed <= room:
            kept.append(h)
            used += needed
    with_interval = set()
    for h in kept:  # what is left over goes to intervals
        more = _width(h, whole[h]) - _width(headings[h], short[h])
        if whole[h] != short[h] and used + more <= room:
            with_interval.add(h)
            used += more
    return {
        (h if h in with_interval else headings[h]): (whole[h] if h in with_interval else short[h])
        for h in whole
        if h in kept
    }


def _rank(heading: str) -> int:
    bare = _INTERVAL.sub("", heading)
    return next((i for i, p in enumerate(_IMPORTANT) if re.fullmatch(p, bare)), len(_IMPORTANT))


def _without_interval(heading: str, cells: Sequence[str]) -> tuple[str, list[str]]:
    if "[95" not in heading and sum(bool(_INTERVAL.search(c)) for c in cells) * 2 < len(cells):
        return heading, list(cells)
    return _INTERVAL.sub("", heading), [_INTERVAL.sub("", c) or c for c in cells]


def _is_text(cells: Sequence[str]) -> bool:
    """Whether some cell is a sentence, which is folded."""
    return any(len(c) > _TEXT and "[" not in c and " " in c for c in cells)


def _width(heading: str, cells: Sequence[str]) -> int:
    """Characters that a column takes, with its heading folded between words."""
    widest = max(map(len, cells), default=0)
    words = max(map(len, _whole(heading).split(" ")))
    return max(words, _TEXT if _is_text(cells) else widest)


def _folded(heading: str, cells: Sequence[str]) -> str:
    lines = textwrap.wrap(_whole(heading), max(_width(heading, cells), 1), break_long_words=False)
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def _whole(heading: str) -> str:
    """A heading whose `[95 %]` is one word."""
    return heading.replace("[95 %]", "[95\N{NO-BREAK SPACE}%]")


def _left_out(columns: Mapping[str, Sequence[str]], shown: Mapping[str, Sequence[str]], *, can_ask: bool) -> list[str]:
    """What a reader is told to be missing. can_ask: whether there is an option for intervals."""
    bare = {_INTERVAL.sub("", h): list(cells) for h, cells in shown.items()}
    gone = [h for h in columns if _INTERVAL.sub("", h) not in bare]
    kept = [h for h in columns if h not in gone]
    shortened = [h for h in kept if list(columns[h]) != bare[_INTERVAL.sub("", h)]]
    said = []
    if gone:
        said.append(f"Not shown for want of room: {', '.join(_INTERVAL.sub('', h) for h in gone)}.")
    if shortened:
        some = "Intervals" if not any(_INTERVAL.search(h) for h in shown) else "Some intervals"
        how = "--intervals shows them" if can_ask else "a wider terminal, or output into a file, shows them"
        said.append(f"{some} are left out for want of room; {how}.")
    return said
