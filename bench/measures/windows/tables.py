"""Comparison tables from records: the published form, and the full one with uncertainties.

Formatting is pure: values in, text out. A figure that does not exist is an en dash, never a zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import pandas as pd

from bench.core.formats import (
    MISSING,
    divergence_change,
    divergence_text,
    joules_text,
    percent,
    perplexity_text,
    seconds,
    share,
    size,
)
from bench.measures.frames import interval
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import agreement, kl_by_kind, kl_change
from bench.measures.windows.energy import energy_figures
from bench.measures.windows.floor import floors_of, ppl_above_floor
from bench.measures.windows.jobs import WindowResult
from bench.measures.windows.runs import windows_of
from bench.records.families import mixed_pairs, pairs
from bench.records.resolution import UNTOLD, resolution
from bench.records.run import Run
from bench.statistics.estimates import Estimate
from bench.statistics.verdicts import TOGETHER, time_verdicts, verdicts, with_interval, with_verdicts

PUBLISHED_KEY = """\
Key
- PPL: perplexity of the {prompts}, lower is better
- Δ PPL: percentage change from Standard to DynamicGate ({gated})
- Size: bytes of the file (M: 10^6, G: 10^9); Δ Size: DynamicGate minus Standard"""

PUBLISHED_SPEED_KEY = """
- Speed: time to process one window of {window} tokens (CPU, {isa}, {threads} threads), lower is better"""

REFERENCE_KEY = """\
Key
- KL: mean Kullback-Leibler divergence from the reference in nats over all scored tokens, with its 95 % interval; then its percentiles
- Same top: share of tokens where both find the same token most likely; RMS Δp: of the change of the correct token's probability
- Right to wrong: tokens whose most likely token was the correct one in the reference and is not here; wrong to right: the reverse"""

PAIRED_KEY = f"""\
Key
- Δ: of the recipe against the other, paired by window{{ratios}}
- {TOGETHER}"""

PAIRED_RATIOS = "; time ratio: of a window; token ratio: of a generated token; both over passes that timed both"

FULL_KEY = """\
- PPL [95 %]: perplexity and its 95 % interval over the {windows} windows; SE: the token-level standard error that llama-perplexity prints
- vs reference: change of perplexity against the reference on the same windows, with its 95 % interval"""

FULL_SPEED_KEY = """
- Window: seconds for one window of {window} tokens, {timed}
- pp: prompt processing, tg: token generation, in tokens/s; Memory: peak of the measuring process; Load: model and context"""

ENERGY_KEY = """\
- J/pp, J/tg: joules of the processors' packages for each token of a window, and for each generated one, with their 95 % intervals over passes"""

#: Columns of energy: their titles, and the figures in full_frame.
ENERGY_COLUMNS = {"J/pp [95 %]": "joules_per_prompt_token", "J/tg [95 %]": "joules_per_generated_token"}

#: Said where a reader would look for speeds.
NO_SPEEDS = "Speeds were not measured (--no-speed)"

FULL_MEMORY_KEY = f"""
- Memory: peak of the measuring process
- {NO_SPEEDS}"""


def published_table(run: Run) -> pd.DataFrame:
    """The published form, column for column, as text."""
    rows = []
    for pair in pairs(run):
        std, gated = windows_of(run).results(pair.standard), windows_of(run).results(pair.gated)
        std_file, gated_file = run.files.get(pair.standard or ""), run.files.get(pair.gated or "")
        big = any(f is not None and f.n_bytes >= 999_950_000 for f in (std_file, gated_file))
        row = {
            "Quantization": pair.base,
            "Standard PPL": perplexity_text(stats.perplexity(std).ppl.value) if std else MISSING,
            "DynamicGate PPL": perplexity_text(stats.perplexity(gated).ppl.value) if gated else MISSING,
            "Δ PPL": percent(stats.perplexity_change(std, gated).value) if std and gated else MISSING,
            "Std Size": size(std_file.n_bytes, gigabytes=big) if std_file else MISSING,
            "DG Size": size(gated_file.n_bytes, gigabytes=big) if gated_file else MISSING,
            "Δ Size": size(gated_file.n_bytes - std_file.n_bytes, sign=True, gigabytes=big)
            if std_file and gated_file
            else MISSING,
        }
        if run.identity.speeds:
            row |= {
                name: seconds(stats.speed(windows, run.identity.settings).window.value) if windows else MISSING
                for name, windows in zip(SPEED_COLUMNS, (std, gated), strict=True)
            }
        rows.append(row)
    columns = [c for c in PUBLISHED_COLUMNS if run.identity.speeds or c not in SPEED_COLUMNS]
    return pd.DataFrame(rows, columns=pd.Index(columns))


SPEED_COLUMNS = ("Std Speed", "DG Speed")
PUBLISHED_COLUMNS = [
    "Quantization",
    "Standard PPL",
    "DynamicGate PPL",
    "Δ PPL",
    "Std Size",
    "DG Size",
    "Δ Size",
    *SPEED_COLUMNS,
]


def full_frame(run: Run) -> pd.DataFrame:
    """One row a file with raw numbers, the reference first; NaN where there is no figure. Units stand in the names."""
    return run.view(_full_frame).copy()


def _full_frame(run: Run) -> pd.DataFrame:
    reference = run.reference
    standard_of = {p.gated: p.standard for p in mixed_pairs(run)}
    rows = []
    for name, file in run.files.items():
        windows = windows_of(run).results(name)
        row: dict[str, object] = {
            "recipe": name,
            "family": file.family,
            "base": file.base,
            "bytes": file.n_bytes,
            "bits_per_weight": file.bits_per_weight,
            "windows": len(windows_of(run).by_file[name]),
            "replaced_tensors": len(file.replaced),
            "sha256": file.sha256,
        }
        if windows:
            ppl = stats.perplexity(windows)
            row |= interval("ppl", ppl.ppl) | {"ppl_se": ppl.se, "tokens": ppl.tokens} | _cost(run, name, windows)
            base = windows_of(run).results(reference) if name != reference else None
            if base:
                row |= interval("ppl_change_vs_reference", stats.perplexity_change(base, windows))
            if base and (found := agreement(base, windows)):
                row |= interval("kl", found.kl) | interval("same_top", found.same_top)
                row |= interval("p_change_rms", found.p_change_rms)
                row |= {f"kl_{p:g}": found.kl_percentiles[p] for p in (50, 90, 95, 99, 99.9)} | {"kl_max": found.kl_max}
                row |= {"right_to_wrong": found.right_to_wrong, "wrong_to_right": found.wrong_to_right}
            if std := windows_of(run).results(standard_of.get(name)):
                row |= interval("ppl_change_vs_standard", stats.perplexity_change(std, windows))
                if run.identity.speeds:
                    timed = windows_of(run).same_sitting(standard_of[name] or "", name)
                    row |= interval("time_ratio_vs_standard", stats.time_ratio(*timed))
        rows.append(row)
    table = pd.DataFrame(rows)
    # no interval at all, as in runs that timed windows as a whole, is no column of text
    missing = [c for c in table if str(c).endswith(("_low", "_high")) and table[c].isna().all()]
    return table.astype(dict.fromkeys(missing, float))


def _cost(run: Run, name: str, windows: list[WindowResult]) -> dict[str, object]:
    """Times and memory of a file; its memory alone where nothing was timed."""
    memory: dict[str, object] = {"peak_memory_bytes": stats.peak_memory(windows)}
    if not run.identity.speeds:
        return memory
    speed = stats.speed(windows, run.identity.settings)
    return {
        **interval("window_seconds", speed.window),
        "window_seconds_half_iqr": speed.spread.half_iqr,
        "prompt_tokens_per_second": speed.prompt,
        **interval("generation_tokens_per_second", speed.generation),
        "load_seconds": speed.load_seconds,
        **memory,
        "disturbed_passes": speed.disturbed,
        **energy_figures(run, name, windows),
    }


def full_table(run: Run) -> pd.DataFrame:
    """full_frame as text for people."""
    rows, told, raw = [], resolution(run), full_frame(run)
    joules = {title: figure for title, figure in ENERGY_COLUMNS.items() if figure in raw}
    for row in raw.to_dict("records"):
        window = _cell(row, "window_seconds", "{:.2f}".format)
        if pd.isna(row.get("window_seconds_low", math.nan)):  # timed as a whole, or in few passes
            window += _cell(row, "window_seconds_half_iqr", " ± {:.2f}".format)
        rows.append(
            {
                "Recipe": row["recipe"],
                "Size": size(row["bytes"]),
                "BPW": f"{row['bits_per_weight']:.3f}",
                "PPL [95 %]": _cell(row, "ppl", perplexity_text),
                "SE": _cell(row, "ppl_se", "{:.2f}".format),
                "vs reference": told.marked(row["recipe"], _cell(row, "ppl_change_vs_reference", percent)),
                "Window": MISSING if window.startswith(MISSING) else f"{window} s",
                "pp": _cell(row, "prompt_tokens_per_second", "{:.0f}".format),
                "tg": _cell(row, "generation_tokens_per_second", "{:.1f}".format),
                "Memory": _cell(row, "peak_memory_bytes", size),
                "Load": _cell(row, "load_seconds", "{:.2f} s".format),
                **{title: _cell(row, figure, joules_text) for title, figure in joules.items()},
            }
        )
    of_speed = [] if run.identity.speeds or not rows else ["Window", "pp", "tg", "Load"]
    return pd.DataFrame(rows).drop(columns=of_speed)


def _cell(row: Mapping[Hashable, Any], key: str, form: Callable[[float], str]) -> str:
    """A figure with its interval, where it has one."""
    if key not in row or pd.isna(row[key]):
        return MISSING
    low, high = (None if pd.isna(x) else x for x in (row.get(f"{key}_low"), row.get(f"{key}_high")))
    return with_interval(Estimate(row[key], low, high), form)


def reference_table(run: Run) -> pd.DataFrame:
    """How far every recipe is from the reference, as text; empty for a run that did not compare."""
    rows, told, own_floor = [], resolution(run), floors_of(run).kl_of_reference()
    for row in full_frame(run).to_dict("records"):
        if "kl" not in row or pd.isna(row["kl"]):
            continue
        floor = " (floor)" if own_floor is not None and row["kl"] <= own_floor else ""
        rows.append(
            {
                "Recipe": row["recipe"],
                "KL [95 %]": told.marked(row["recipe"], _cell(row, "kl", divergence_text) + floor),
                "Median": divergence_text(row["kl_50"]),
                "99 %": divergence_text(row["kl_99"]),
                "99.9 %": divergence_text(row["kl_99.9"]),
                "Max": divergence_text(row["kl_max"]),
                "Same top [95 %]": _cell(row, "same_top", share),
                "RMS Δp [95 %]": _cell(row, "p_change_rms", share),
                "Right to wrong": str(int(row["right_to_wrong"])),
                "Wrong to right": str(int(row["wrong_to_right"])),
            }
        )
    return pd.DataFrame(rows)


def reference_key(run: Run) -> str:
    """What the columns and marks of that table mean."""
    return "\n".join(filter(None, [REFERENCE_KEY, resolution(run).key(run.files)]))


def kinds_table(run: Run) -> pd.DataFrame:
    """Perplexity by kind of prompt; empty when there is one kind only."""
    return _by_kind(run, stats.perplexity_by_kind, perplexity_text)


def kl_kinds_table(run: Run) -> pd.DataFrame:
    """Mean KL divergence from the reference by kind of prompt; empty when there is one kind only."""
    return _by_kind(run, kl_by_kind, divergence_text)


def _by_kind(
    run: Run, of: Callable[[list[WindowResult]], dict[str, float]], form: Callable[[float], str]
) -> pd.DataFrame:
    rows = []
    for name in run.files:
        by_kind = of(windows) if (windows := windows_of(run).results(name)) else {}
        if by_kind:
            rows.append({"Recipe": name} | {kind: form(value) for kind, value in by_kind.items()})
    table = pd.DataFrame(rows)
    return table if len(table.columns) > 2 else pd.DataFrame()


def paired_table(run: Run) -> pd.DataFrame:
    """Mixed recipes against the standard of the same base: paired change of perplexity and of time, with intervals and a verdict."""
    rows: list[dict[str, object]] = []
    changes: list[Estimate | None] = []
    ratios: list[Estimate | None] = []
    generations: list[Estimate | None] = []
    told = resolution(run)
    for pair in mixed_pairs(run):
        std, gated = windows_of(run).results(pair.standard), windows_of(run).results(pair.gated)
        if not (std and gated):
            continue
        change = ppl_above_floor(stats.perplexity_change(std, gated), run, pair.standard or "", pair.gated or "")
        timed = windows_of(run).same_sitting(pair.standard or "", pair.gated or "")
        ratio, generation = stats.time_ratio(*timed), stats.generation_ratio(*timed)
        kl = kl_change(std, gated)
        files = run.files[pair.standard or ""], run.files[pair.gated or ""]
        changes.append(change if told.beyond.isdisjoint((pair.gated or "", pair.standard or "")) else None)
        ratios.append(ratio)
        generations.append(generation)
        rows.append(
            {
                "Recipe": pair.gated,
                "Against": pair.standard,
                "Δ PPL [95 %]": with_interval(change, percent),
                "Verdict": UNTOLD,
                "Δ KL [95 %]": with_interval(kl, divergence_change) if kl else MISSING,
                "Δ Size": percent(files[1].n_bytes / files[0].n_bytes - 1),
                "Time ratio [95 %]": with_interval(ratio, "{:.3f}".format),
                "Time": "",
                "Token ratio [95 %]": with_interval(generation, "{:.3f}".format),
                "Tokens": "",
            }
        )
    words = verdicts(changes, "better", "worse")
    judged = [UNTOLD if change is None else word for change, word in zip(changes, words, strict=True)]
    found = with_verdicts(rows, Verdict=judged, Time=time_verdicts(ratios), Tokens=time_verdicts(generations))
    of_speed = [] if run.identity.speeds or not rows else ["Time ratio [95 %]", "Time", "Token ratio [95 %]", "Tokens"]
    return found.drop(columns=of_speed)
