"""Numbers as text, and tables of text as Markdown. A figure that does not exist is an en dash, never a zero."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MISSING = "–"


def size(n_bytes: float, *, sign: bool = False, gigabytes: bool | None = None) -> str:
    """`2.5G`, `62.4M`, `+0.1G`. gigabytes: force the unit, so that a row keeps one unit."""
    big = abs(n_bytes) >= 999_950_000 if gigabytes is None else gigabytes
    return f"{n_bytes / (1e9 if big else 1e6):{'+' if sign else ''}.1f}{'G' if big else 'M'}"


def seconds(value: float) -> str:
    """Three significant digits and no more decimals than that: `234s`, `20.4s`, `6.52s`."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}s"


def duration(seconds: float) -> str:
    """What a clock shows: `0:07`, `12:34`, `1:02:03`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def rough_duration(seconds: float) -> str:
    """What a forecast says: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def joules_text(value: float) -> str:
    """Three significant digits: `0.0213`, `1.50`, `1284`."""
    return f"{value:#.3g}" if value < 99.5 else f"{value:.0f}"


def percent(ratio: float) -> str:
    return f"{100 * ratio:+.1f}%"


def perplexity_text(value: float) -> str:
    return f"{value:.2f}" if value < 1e6 else f"{value:.2e}"


def divergence_text(value: float) -> str:
    return f"{value:.4f}" if value >= 0.001 else f"{value:.1e}"


def divergence_change(value: float) -> str:
    return f"{value:+.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:+.1e}"


def share(value: float) -> str:
    return f"{100 * value:.1f}%"


def in_one_line(text: str) -> str:
    """A text from elsewhere without its line breaks, and without characters that steer a terminal or turn the direction of writing: for
    a line of a table, a page or a script."""
    return " ".join(printable(text).split())


def printable(text: str) -> str:
    """A line from elsewhere without characters that steer a terminal or turn the direction of writing. Its spaces stay as they are."""
    return "".join(c if c.isprintable() else " " for c in text)


_BAR = re.compile(r"(?<!\\)((?:\\\\)*)\|")
_TAG_OR_LINK = re.compile(r"(?<!\\)((?:\\\\)*)(<(?=[A-Za-z/!?])|\](?=\())")


def no_markup(text: str) -> str:
    """A sentence or name from elsewhere for Markdown: in one line, with no element of HTML and no link. Its spaces stay as they are."""
    return _TAG_OR_LINK.sub(r"\1\\\2", printable(text))


def no_markup_in(lines: str) -> str:
    """The same for sentences that stand below each other."""
    return "\n".join(map(no_markup, lines.split("\n")))


def _cell(text: str) -> str:
    return _BAR.sub(r"\1\\|", no_markup(text))


def markdown(table: pd.DataFrame, *, text: str | None = None) -> str:
    """A Markdown table whose columns also line up as plain text: first column left, others right. Cells are text: a bar, an element of
    HTML or a link in a name is escaped.

    text: a last column of long texts, which stands left and is not padded.
    """
    rows = [list(table.columns), *table.astype(str).to_numpy().tolist()]
    cells = [[_cell(str(c)) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    left = [i == 0 or c == text for i, c in enumerate(table.columns)]
    if text is not None:
        widths[-1] = len(text)

    def line(row: list[str]) -> str:
        padded = [c.ljust(w) if at else c.rjust(w) for c, w, at in zip(row, widths, left, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (w - 1) if at else "-" * (w - 1) + ":" for w, at in zip(widths, left, strict=True)]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])
