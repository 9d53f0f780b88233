"""Tables of a run for other programs: Parquet and CSV with raw numbers, Markdown and LaTeX with text and intervals.

Raw columns are described beside the tables; a column that is not described there has its unit in its name.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from bench.core.errors import BenchError, nearest
from bench.core.files import complete_or_absent
from bench.core.formats import MISSING, markdown
from bench.measures.frames import Frame
from bench.measures.registry import all_measures
from bench.present.files import FRAMES
from bench.records.describe import windows_text
from bench.records.run import Run

_SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".md": "md", ".tex": "latex"}
FORMATS = tuple(_SUFFIXES.values())


def exported() -> dict[str, Frame]:
    """Every table that can be exported, by its name."""
    return {f.name: f for f in (*(f for m in all_measures() for f in m.frames()), *FRAMES)}


def format_of(asked: str | None, out: Path | None) -> str:
    """The format that is asked for, else the one that the file's name ends in, else Markdown. Raises BenchError."""
    known = FORMATS
    if asked is not None:
        if asked not in known:
            raise BenchError(f"--format {asked}: is none of {', '.join(known)}{nearest(asked, known)}")
        return asked
    if out is None:
        return "md"
    if out.suffix.lower() not in _SUFFIXES:
        raise BenchError(f"--out {out}: does not tell the format; add --format {', '.join(known)}")
    return _SUFFIXES[out.suffix.lower()]


def export_table(run: Run, table: str, form: str, out: Path | None = None) -> str:
    """A table in a format: written to `out` ("" is returned), or returned as text. Raises BenchError for a table that the run
    does not have, and for Parquet, which is no text, without `out`."""
    known = exported()
    if table not in known:
        raise BenchError(f"--table {table}: is none of {', '.join(known)}{nearest(table, known)}")
    if form == "parquet" and out is None:
        raise BenchError("--format parquet: is no text to print; name a file with --out FILE")
    made = known[table]
    frame = made.raw(run) if form in ("parquet", "csv") else made.as_text(run)
    if frame.empty:
        raise BenchError(f"--table {table}: this run has none; it takes {made.needs}")
    text = ""
    if form == "csv":
        text = frame.to_csv(index=False)
    elif form == "md":
        text = markdown(frame) + "\n"
    elif form == "latex":
        text = latex(frame, about=f"{run.identity.model.name}, {windows_text(run)} of {run.identity.prompts.name}")
    if out is None:
        return text
    with complete_or_absent(out) as partial:
        if form == "parquet":
            frame.to_parquet(partial, index=False)
        else:
            partial.write_text(text, encoding="utf-8")
    return ""


#: Units that numbers of text tables carry, with the names they have in a header.
_UNITS = {"%": "%", " s": "s", "s": "s", "M": "MB", "G": "GB"}
_UNIT = re.compile(r"(?<=\d)(%| s|s|M|G)(?=$|[\s,\]])")
#: Units of text columns whose numbers carry none.
_HEADERS = {
    "BPW": "bits",
    "pp": "tokens/s",
    "tg": "tokens/s",
    "KL [95 %]": "nats",
    "Δ KL [95 %]": "nats",
    **dict.fromkeys(("Median", "99 %", "99.9 %", "Max"), "nats"),
}


def units_in_header(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the unit of a column in its header, `Δ PPL (%) [95 %]`, wherever all its numbers have the same one."""
    changed: dict[str, list[str]] = {}
    for name in map(str, table.columns):
        cells = [str(c) for c in table[name]]
        found = [_UNIT.findall(c) for c in cells]
        units = {u for units in found for u in units}
        bare = [c for c, units in zip(cells, found, strict=True) if not units and c != MISSING]
        unit = _HEADERS.get(name)
        # the first column has names, which may end as a unit does
        if len(units) == 1 and not bare and changed:
            unit, cells = _UNITS[units.pop()], [_UNIT.sub("", c) for c in cells]
        what, bracket, rest = name.partition(" [")
        changed[f"{what} ({unit}){bracket}{rest}" if unit else name] = cells
    return pd.DataFrame(changed)


_LATEX = {
    **{c: f"\\{c}" for c in "%_&#${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "Δ": r"$\Delta$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "\n": " ",
}
_POWER = re.compile(r"(?<![\w.])([-+]?\d+(?:\.\d+)?)e([-+]?)0*(\d+)(?!\w)")
_MINUS = re.compile(r"(?<![\w${}])-(?=\d)")


def latex_text(text: str) -> str:
    """A cell in LaTeX: special characters escaped, minus signs and powers of ten as mathematics."""
    escaped = "".join(_LATEX.get(c, c) for c in text)
    escaped = _POWER.sub(lambda m: f"${m[1]} \\times 10^{{{m[2].replace('+', '')}{m[3]}}}$", escaped)
    return _MINUS.sub("$-$", escaped)


def latex(table: pd.DataFrame, *, about: str) -> str:
    """A tabular with the rules of booktabs, units in its header. about: what it is of, for a comment above it."""
    table = units_in_header(table)

    def line(cells: list[str]) -> str:
        return f"  {' & '.join(map(latex_text, cells))} \\\\"

    return "\n".join(
        [
            f"% {' '.join(about.split())}; needs \\usepackage{{booktabs}}",
            f"\\begin{{tabular}}{{{'l' + 'r' * (len(table.columns) - 1)}}}",
            "  \\toprule",
            line(list(table.columns)),
            "  \\midrule",
            *map(line, table.astype(str).to_numpy().tolist()),
            "  \\bottomrule",
            "\\end{tabular}",
            "",
        ]
    )
