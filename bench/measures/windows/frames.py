"""Tables of windows for programs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bench.core.errors import BenchError, nearest
from bench.measures.frames import Frame, frame, interval
from bench.measures.windows import columns, equal_size, tables
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import kl_by_kind, kl_change, mean_kl
from bench.measures.windows.bits import bits_frame, bits_table
from bench.measures.windows.distances import distances_frame, distances_table
from bench.measures.windows.jobs import (
    REFERENCE_TOP_IS_CORRECT,
    SAME_TOP,
    TOP_IS_CORRECT,
    TokenData,
    WindowResult,
    unpack,
)
from bench.measures.windows.positions import positions_frame, positions_table
from bench.measures.windows.runs import windows_of
from bench.measures.windows.tables import full_frame
from bench.records.families import mixed_pairs, pairs
from bench.records.resolution import resolution
from bench.records.run import Run


def _comparison(run: Run) -> pd.DataFrame:
    """The published form as numbers: perplexities, bytes and seconds of both files, and the change of each."""
    files = full_frame(run).set_index("recipe").to_dict("index")
    figures = ["ppl", "bytes", *(["window_seconds"] if run.identity.speeds else [])]
    rows = []
    for pair in pairs(run):
        standard, gated = (files.get(name, {}) if name else {} for name in (pair.standard, pair.gated))
        row: dict[str, object] = {"base": pair.base, "standard": pair.standard, "dynamicgate": pair.gated}
        for name in figures:
            row |= {f"standard_{name}": standard.get(name), f"dynamicgate_{name}": gated.get(name)}
        row["ppl_change"] = gated.get("ppl_change_vs_standard")
        rows.append(row)
    return pd.DataFrame(rows)


def changes(run: Run, held: Mapping[str, str]) -> pd.DataFrame:
    """Recipes held against others, {recipe: the other}, paired by window; those that lack a window are left out."""
    told, rows = resolution(run), []
    for name, other in held.items():
        this, before = windows_of(run).results(name), windows_of(run).results(other)
        if this and before:
            row: dict[str, object] = {"recipe": name, "against": other, "bytes": run.files[name].n_bytes}
            row["bytes_change"] = run.files[name].n_bytes / run.files[other].n_bytes - 1
            row |= interval("ppl_change", stats.perplexity_change(before, this))
            row |= interval("kl_change", kl_change(before, this))
            if run.identity.speeds:
                timed = windows_of(run).same_sitting(other, name)
                row |= interval("time_ratio", stats.time_ratio(*timed))
                row |= interval("generation_ratio", stats.generation_ratio(*timed))
            row["can_be_told"] = told.beyond.isdisjoint((name, other))
            rows.append(row)
    return frame(columns.PAIRED, rows)


def standards(run: Run) -> dict[str, str]:
    """{mixed recipe: the standard file of the same base}, of the pairs that the run has."""
    return {p.gated: p.standard for p in mixed_pairs(run) if p.gated and p.standard}


def _paired(run: Run) -> pd.DataFrame:
    return changes(run, standards(run))


def _equal_size(run: Run) -> pd.DataFrame:
    held = {n: f.choice.against for n, f in run.files.items() if f.choice and f.choice.against in run.files}
    found = changes(run, {n: other for n, other in held.items() if other})
    return found.assign(is_control=["random" in run.files[n].family for n in found["recipe"]])


def _reference(run: Run) -> pd.DataFrame:
    files = full_frame(run)
    if "kl" not in files:
        return pd.DataFrame()
    first, last = (files.columns.get_loc(c) for c in ("ppl_change_vs_reference", "wrong_to_right"))
    chosen = ["recipe", *files.columns[first : last + 1]]  # type: ignore[operator]
    return files.loc[files["kl"].notna(), chosen]


def _windows(run: Run) -> pd.DataFrame:
    """One row a recipe and window: sums, perplexity, mean KL divergence, times."""
    threads = run.identity.settings.threads
    rows = []
    for name, by_window in windows_of(run).by_file.items():
        for record in by_window.values():
            w = record.result
            kl = mean_kl([w])
            rows.append(
                {
                    "recipe": name,
                    "family": run.files[name].family,
                    "window": w.window,
                    "tokens": sum(s.tokens for s in w.by_kind.values()),
                    "nll": sum(s.nll for s in w.by_kind.values()),
                    "ppl": stats.perplexity([w]).ppl.value,
                    "kl": np.nan if kl is None else float(kl[0]),
                    "seconds": w.seconds,
                    "generate_seconds": w.generate_seconds,
                    "load_seconds": w.load_seconds,
                    "scoring_seconds": w.scoring_seconds,
                    "peak_memory_bytes": w.peak_memory_bytes,
                    "disturbed": w.activity.disturbed(threads) if w.activity else None,
                    "load": record.load,
                    "sitting": record.sitting,
                }
            )
    perhaps = ("kl", "generate_seconds", "scoring_seconds", "load")
    found = frame(columns.WINDOWS, rows).astype(dict.fromkeys(perhaps, "float64"))
    return found if run.identity.speeds else found.drop(columns=list(_OF_SPEED))


#: Columns of that which tell how fast a window was.
_OF_SPEED = ("seconds", "generate_seconds", "load_seconds", "scoring_seconds", "disturbed")


def _kinds(run: Run) -> pd.DataFrame:
    """One row a recipe and kind of prompt: perplexity and mean KL divergence."""
    rows = []
    for name, file in run.files.items():
        windows = windows_of(run).results(name) or []
        kl = kl_by_kind(windows)
        for kind, ppl in stats.perplexity_by_kind(windows).items():
            tokens = sum(w.by_kind[kind].tokens for w in windows if kind in w.by_kind)
            row = {"recipe": name, "family": file.family, "kind": kind}
            rows.append(row | {"tokens": tokens, "ppl": ppl, "kl": kl.get(kind, np.nan)})
    return frame(columns.KINDS, rows)


def tokens(run: Run, recipe: str) -> pd.DataFrame:
    """One row a scored token of a recipe, in the text's order.

    Raises BenchError for a recipe that the run does not have, or whose records hold no single tokens.
    """
    if recipe not in run.files:
        raise BenchError(f"{recipe}: is not in this run{nearest(recipe, run.files)}; it has {', '.join(run.files)}")
    begin = run.identity.settings.first_scored + 1
    found = [r.result for r in windows_of(run).by_file[recipe].values()]
    parts = [_token_frame(w, w.tokens, begin) for w in found if w.tokens is not None]
    if not parts:
        raise BenchError(f"{recipe}: its records hold no single tokens; measure it again with `bench run`")
    return pd.concat(parts, ignore_index=True)


def _all_tokens(run: Run) -> pd.DataFrame:
    parts = []
    for name, by_window in windows_of(run).by_file.items():
        if any(r.result.tokens is not None for r in by_window.values()):
            part = tokens(run, name)
            part.insert(0, "recipe", name)
            parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _too_many(_: Run) -> pd.DataFrame:
    raise BenchError("--table tokens: has too many rows to read; take --format parquet or csv")


def _token_frame(result: WindowResult, data: TokenData, begin: int) -> pd.DataFrame:
    """Scored tokens of one window; what is against the reference is missing where it was not compared.
    begin: position of the first of them."""
    flags = unpack(data.flags, np.uint8)
    n, compared = len(flags), data.kl is not None

    def number(packed: str | None) -> object:
        return np.full(n, np.nan) if packed is None else unpack(packed, np.float32).astype(np.float64)

    def flag(bit: int) -> object:
        return pd.array(flags & bit > 0 if compared else [pd.NA] * n, dtype="boolean")

    return pd.DataFrame(
        {
            "window": np.full(n, result.window),
            "position": np.arange(begin, begin + n),
            "kind": np.array(data.kind_names, object)[unpack(data.kinds, np.uint8)],
            "nll": number(data.nll),
            "top_correct": flags & TOP_IS_CORRECT > 0,
            "kl": number(data.kl),
            "p_change": number(data.p_change),
            "same_top": flag(SAME_TOP),
            "reference_top_correct": flag(REFERENCE_TOP_IS_CORRECT),
        }
    )


FRAMES = (
    Frame("comparison", _comparison, tables.published_table, "a DynamicGate recipe", columns.COMPARISON),
    Frame("files", full_frame, tables.full_table, columns=columns.FILES, attribute="files"),
    Frame("paired", _paired, tables.paired_table, "a recipe and the standard one of the same base", columns.PAIRED),
    Frame("reference", _reference, tables.reference_table, "recipes that were compared with a reference"),
    Frame(
        "equal-size",
        _equal_size,
        equal_size.equal_size_table,
        "recipes with a size, such as auto@IQ2_S",
        columns.EQUAL_SIZE,
    ),
    Frame("kinds", _kinds, tables.kinds_table, "several kinds of prompts", columns.KINDS, "kinds"),
    Frame("kl-kinds", _kinds, tables.kl_kinds_table, "several kinds of prompts"),
    Frame("bits", bits_frame, bits_table, "windows of this version", columns.BITS, "bits"),
    Frame("distances", distances_frame, distances_table, "distances of this version", columns.DISTANCES, "distances"),
    Frame(
        "positions",
        positions_frame,
        positions_table,
        "recipes that were compared with a reference",
        columns.POSITIONS,
        "positions",
    ),
    Frame("windows", _windows, columns=columns.WINDOWS, attribute="windows"),
    Frame("tokens", _all_tokens, _too_many, "records with single tokens", columns.TOKENS, "tokens", tokens),
)
