"""Tables of a run for other programs: Parquet and CSV with raw numbers, Markdown and LaTeX with text and intervals; and the
rounds of a run in pytest-benchmark's own format, for its commands and for `bench check`.

Raw columns are those of columns.py, which has their units; a table that it does not have says them in its names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.api import RunFrames
from bench.core.errors import BenchError, nearest
from bench.gguf_files.info import complete_or_absent
from bench.measures.problems import tables as problem_tables
from bench.measures.propagation import tables as propagation_tables
from bench.measures.windows import statistics as stats
from bench.measures.windows import tables
from bench.measures.windows.agreement import kl_change
from bench.measures.windows.equal_size import equal_size_table
from bench.measures.windows.tables import MISSING
from bench.present import columns
from bench.records.run import Run, WindowRecord, newest_time

#: Where a run's rounds stand in pytest-benchmark's format, beside its records.
BENCHMARK_FILE = "benchmark.json"

_SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".md": "md", ".tex": "latex"}
FORMATS = tuple(_SUFFIXES.values())


@dataclass(frozen=True)
class Exported:
    """A table in both forms. raw: numbers; text: for people, with intervals. needs: what a run must have for it."""

    raw: Callable[[Run], pd.DataFrame]
    text: Callable[[Run], pd.DataFrame]
    needs: str = "a recipe with all its windows"


def _interval(name: str, estimate: stats.Estimate | None) -> dict[str, object]:
    e = estimate or stats.Estimate(float("nan"))
    return {name: e.value, f"{name}_low": e.low, f"{name}_high": e.high}


def _comparison(run: Run) -> pd.DataFrame:
    """The published form as numbers: perplexities, bytes and seconds of both files, and the change of each."""
    files = RunFrames(run).files.set_index("recipe").to_dict("index")
    figures = {"ppl": "ppl", "bytes": "bytes", "window_seconds": "window_seconds"}
    rows = []
    for pair in tables.pairs(run):
        standard, gated = (files.get(name, {}) if name else {} for name in (pair.standard, pair.gated))
        row: dict[str, object] = {"base": pair.base, "standard": pair.standard, "dynamicgate": pair.gated}
        for name, key in figures.items():
            row |= {f"standard_{name}": standard.get(key), f"dynamicgate_{name}": gated.get(key)}
        row["ppl_change"] = gated.get("ppl_change_vs_standard")
        rows.append(row)
    return pd.DataFrame(rows)


def _against(run: Run, pairs: Mapping[str, str]) -> pd.DataFrame:
    """Recipes against others, paired by window: changes of perplexity (ratio - 1), KL divergence (nats), bytes (ratio - 1), and
    the ratio of times."""
    rows = []
    for name, other in pairs.items():
        this, before = run.results(name), run.results(other)
        if this and before:
            row: dict[str, object] = {"recipe": name, "against": other, "bytes": run.files[name].n_bytes}
            row["bytes_change"] = run.files[name].n_bytes / run.files[other].n_bytes - 1
            row |= _interval("ppl_change", stats.perplexity_change(before, this))
            row |= _interval("kl_change", kl_change(before, this))
            row |= _interval("time_ratio", stats.time_ratio(*run.same_sitting(other, name)))
            rows.append(row)
    return pd.DataFrame(rows)


def _paired(run: Run) -> pd.DataFrame:
    return _against(run, {p.gated: p.standard for p in tables.mixed_pairs(run) if p.gated and p.standard})


def _equal_size(run: Run) -> pd.DataFrame:
    held = {n: f.choice.against for n, f in run.files.items() if f.choice and f.choice.against in run.files}
    return _against(run, {n: other for n, other in held.items() if other})


def _reference(run: Run) -> pd.DataFrame:
    files = RunFrames(run).files
    if "kl" not in files:
        return pd.DataFrame()
    first, last = (files.columns.get_loc(c) for c in ("ppl_change_vs_reference", "wrong_to_right"))
    chosen = ["recipe", *files.columns[first : last + 1]]  # type: ignore[operator]
    return files.loc[files["kl"].notna(), chosen]


def _propagation(run: Run) -> pd.DataFrame:
    """A row for every recipe, window and layer: relative errors (see propagation.py)."""
    rows = [
        {"recipe": name, "window": window, "layer": layer}
        | {part: getattr(result, part)[layer] for part in ("residual", "attention", "feed_forward")}
        for name, by_window in run.propagation.items()
        for window, result in by_window.items()
        for layer in range(len(result.residual))
    ]
    return pd.DataFrame(rows)


def _problems(run: Run) -> pd.DataFrame:
    parts = []
    for problems in run.problem_sets:
        part = problem_tables.problem_table(run, problems)
        part.insert(0, "Set", problem_tables.title(problems))
        parts.append(part)
    return pd.concat(parts, ignore_index=True).fillna(MISSING) if parts else pd.DataFrame()


def _tokens(run: Run) -> pd.DataFrame:
    frames, parts = RunFrames(run), []
    for name, by_window in run.windows.items():
        if any(r.result.tokens is not None for r in by_window.values()):
            part = frames.tokens(name)
            part.insert(0, "recipe", name)
            parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _too_many(_: Run) -> pd.DataFrame:
    raise BenchError("--table tokens: has too many rows to read; take --format parquet or csv")


def _as_text(frame: str) -> Callable[[Run], pd.DataFrame]:
    """A raw frame as text: units beside the names of its columns, numbers of four digits."""

    def cell(value: object) -> str:
        if pd.isna(value):  # type: ignore[call-overload]
            return MISSING
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        return " ".join(text.split())

    def made(run: Run) -> pd.DataFrame:
        raw: pd.DataFrame = getattr(RunFrames(run), frame)
        units = {c.name: f"{c.name} ({c.unit})" if c.unit else c.name for c in columns.table(frame).columns}
        return pd.DataFrame({units.get(name, name): [cell(v) for v in raw[name]] for name in raw.columns})

    return made


TABLES: dict[str, Exported] = {
    "comparison": Exported(_comparison, tables.published_table, "a DynamicGate recipe"),
    "files": Exported(lambda run: RunFrames(run).files, tables.full_table),
    "paired": Exported(_paired, tables.paired_table, "a recipe and the standard one of the same base"),
    "reference": Exported(_reference, tables.reference_table, "recipes that were compared with a reference"),
    "equal-size": Exported(_equal_size, equal_size_table, "recipes with a size, such as auto@IQ2_S"),
    "kinds": Exported(lambda run: RunFrames(run).kinds, tables.kinds_table, "several kinds of prompts"),
    "kl-kinds": Exported(lambda run: RunFrames(run).kinds, tables.kl_kinds_table, "several kinds of prompts"),
    "windows": Exported(lambda run: RunFrames(run).windows, _as_text("windows")),
    "types": Exported(lambda run: RunFrames(run).types, _as_text("types")),
    "tokens": Exported(_tokens, _too_many, "records with single tokens"),
    "problems": Exported(lambda run: RunFrames(run).problems, _problems, "problems: run with --kinds"),
    "samples": Exported(lambda run: RunFrames(run).samples, _as_text("samples"), "samples: run with --samples"),
    "propagation": Exported(
        _propagation, propagation_tables.propagation_table, "errors of hidden states: run with --propagation"
    ),
    "others": Exported(tables.others_table, tables.others_table, "files of others: run with --compare"),
}


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
    if table not in TABLES:
        raise BenchError(f"--table {table}: is none of {', '.join(TABLES)}{nearest(table, TABLES)}")
    if form == "parquet" and out is None:
        raise BenchError("--format parquet: is no text to print; name a file with --out FILE")
    made = TABLES[table]
    frame = made.raw(run) if form in ("parquet", "csv") else made.text(run)
    if frame.empty:
        raise BenchError(f"--table {table}: this run has none; it takes {made.needs}")
    text = ""
    if form == "csv":
        text = frame.to_csv(index=False)
    elif form == "md":
        text = tables.markdown(frame.replace(r"\|", r"\\|", regex=True)) + "\n"
    elif form == "latex":
        text = latex(
            frame, about=f"{run.identity.model.name}, {tables.windows_text(run)} of {run.identity.prompts.name}"
        )
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


_TIMES = {"window": "seconds", "generation": "generate_seconds"}


def benchmark_json(run: Run) -> dict[str, Any]:
    """The run's rounds as pytest-benchmark stores its own: a benchmark for every file and kind of time, a round a window.

    Statistics are pytest-benchmark's. extra_info says which window and sitting every round is of. The date is that of the last
    record, so that the same records give the same file.
    """
    import pytest_benchmark
    from pytest_benchmark import stats as timing

    i, versions = run.identity, run.header.versions
    new_statistics: Any = timing.Stats
    benchmarks = []
    for kind, field in _TIMES.items():
        for name, by_window in run.windows.items():
            rounds = [r for r in by_window.values() if getattr(r.result, field) is not None]
            if not rounds:
                continue
            measured = new_statistics()
            for r in rounds:
                measured.update(getattr(r.result, field))
            benchmarks.append(
                {
                    "group": kind,
                    "name": f"{kind}[{name}]",
                    "fullname": f"bench/measures/windows/timed_suite.py::{kind}[{name}]",
                    "params": {"recipe": name},
                    "param": name,
                    "extra_info": {
                        "recipe": name,
                        "sha256": run.files[name].sha256,
                        "windows": [r.result.window for r in rounds],
                        "sittings": [r.sitting for r in rounds],
                        "disturbed": [r.result.activity.disturbed(i.settings.threads) for r in rounds],
                    },
                    "options": {"disable_gc": True, "timer": "perf_counter", "warmup": False},
                    "stats": measured.as_dict() | {"data": measured.data, "iterations": 1},
                }
            )
    commit, _, changed = versions.get("commit", "").partition("-")
    python = {"python_version": versions.get("python", ""), "python_implementation": "CPython"}
    return {
        "machine_info": {
            "node": "",  # records name no host
            "machine": i.machine.architecture,
            "system": i.machine.system.split()[0],
            **python,
            "cpu": {"brand_raw": i.machine.cpu, "count": i.machine.logical_cpus},
        },
        "commit_info": {"id": commit or "unversioned", "project": "dynamicgate-bench", "dirty": changed == "dirty"},
        "benchmarks": benchmarks,
        "datetime": newest_time(run.records) or run.header.started,
        "version": pytest_benchmark.__version__,
        "run": {"id": run.header.id, "identity": i.model_dump(mode="json"), "versions": versions},
    }


def write_benchmark_json(run: Run, out: Path) -> None:
    """Write benchmark_json. Raises BenchError when the run has no rounds or the file cannot be written."""
    found = benchmark_json(run)
    if not found["benchmarks"]:
        raise BenchError("--benchmark-json: this run has no timed window yet; run it first")
    with complete_or_absent(out) as partial:
        partial.write_text(json.dumps(found, indent=4) + "\n", encoding="utf-8")


def read_rounds(path: Path, run: Run) -> Run:
    """The run with its times as a file of write_benchmark_json has them: its files, and a window record for every round.

    Raises BenchError for a file that is none of these, is of another run, or lacks rounds of the run's records.
    """
    again = f"write it again with `bench export RUN --benchmark-json {path}`"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["run"]["id"] != run.header.id:
            raise BenchError(f"{path}: has the rounds of run {data['run']['id']}, not of {run.header.id}; {again}")
        times: dict[tuple[str, int], dict[str, float]] = {}
        sittings: dict[tuple[str, int], str] = {}
        for benchmark in data["benchmarks"]:
            info, field = benchmark["extra_info"], _TIMES[benchmark["group"]]
            if info["recipe"] in run.files and run.files[info["recipe"]].sha256 == info["sha256"]:
                rounds = zip(info["windows"], info["sittings"], benchmark["stats"]["data"], strict=True)
                for window, sitting, seconds in rounds:
                    times.setdefault((info["recipe"], window), {})[field] = float(seconds)
                    sittings[info["recipe"], window] = sitting
    except OSError as e:
        raise BenchError(f"{path}: cannot be read ({e.strerror}); {again}") from e
    except (ValueError, KeyError, TypeError) as e:
        raise BenchError(f"{path}: is not a file of `bench export --benchmark-json` ({e!r}); {again}") from e
    records: list[WindowRecord] = []
    for name, by_window in run.windows.items():
        for window, record in by_window.items():
            if "seconds" not in (found := times.get((name, window), {})):
                raise BenchError(f"{path}: lacks {name}'s round of window {window}, which is on record since; {again}")
            result = record.result.model_copy(update={"generate_seconds": None, **found})
            records.append(record.model_copy(update={"result": result, "sitting": sittings[name, window]}))
    return Run(run.header, (*run.files.values(), *records))
