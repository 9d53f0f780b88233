"""Comparison tables out of records: the published form, and the full one with uncertainties.

Formatting is pure: values in, text out. A figure that does not exist is an en dash, never a zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.execute.jobs import WindowResult
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import agreement, kl_by_kind, kl_change, mean_kl
from bench.recipes.recipe import AUTOMATIC
from bench.records.run import Run

MISSING = "–"

PUBLISHED_KEY = """\
Key
- PPL: perplexity of the {prompts}, lower is better
- Δ PPL: percentage change from Standard to DynamicGate ({gated})
- Size: bytes of the file (M: 10^6, G: 10^9); Δ Size: DynamicGate minus Standard
- Speed: time to process one window of {window} tokens (median, CPU, {isa}, {threads} threads), lower is better"""

REFERENCE_KEY = """\
Key
- KL: mean Kullback-Leibler divergence from the reference in nats over all scored tokens, with its 95 % interval; then its percentiles
- Same top: share of tokens where both find the same token most likely; RMS Δp: of the change of the correct token's probability
- Right to wrong: tokens whose most likely token was the correct one in the reference and is not here; wrong to right: the reverse"""

FULL_KEY = """\
Key
- BPW: bits per weight, 8 x bytes of tensors / number of weights
- PPL [95 %]: perplexity and its interval from resampling the {windows} windows; SE: the token-level standard error that llama-perplexity prints
- vs reference: change of perplexity against the reference on the same windows, with its 95 % interval
- Window: seconds for one window of {window} tokens, median ± half the interquartile range over {windows} interleaved passes
- pp: prompt processing, tg: token generation, in tokens/s; Memory: peak of the measuring process; Load: model and context"""


def size(n_bytes: float, *, sign: bool = False, gigabytes: bool | None = None) -> str:
    """`2.5G`, `62.4M`, `+0.1G`. gigabytes: force the unit, so that a row keeps one unit."""
    big = abs(n_bytes) >= 999_950_000 if gigabytes is None else gigabytes
    return f"{n_bytes / (1e9 if big else 1e6):{'+' if sign else ''}.1f}{'G' if big else 'M'}"


def seconds(value: float) -> str:
    """Three significant digits and no more decimals than that: `234s`, `20.4s`, `6.52s`."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}s"


def percent(ratio: float) -> str:
    return f"{100 * ratio:+.1f}%"


def perplexity_text(value: float) -> str:
    return f"{value:.2f}" if value < 1e6 else f"{value:.2e}"


def windows_text(run: Run) -> str:
    """`8 windows of 2048 tokens`."""
    n = run.identity.windows
    return f"{n} window{'s' if n > 1 else ''} of {run.identity.settings.window} tokens"


@dataclass(frozen=True)
class Pair:
    """A standard file and its mixed counterpart, DynamicGate for one; None for one that the run does not have."""

    base: str
    standard: str | None
    gated: str | None


#: Families that the published form is about: the gate, and for a run without it the full rule.
GATED = ("DynamicGate", "DynamicGate, full")


def pairs(run: Run, family: str | None = None) -> list[Pair]:
    """Every file of the family with the standard of its base (family: that of the published form unless told), in the order of the run."""
    found = {f.family for f in run.files.values()}
    wanted = family or next((f for f in GATED if f in found), GATED[0])
    standard = {f.base: f.recipe for f in run.files.values() if f.family == "Standard"}
    return [Pair(f.base, standard.get(f.base), f.recipe) for f in run.files.values() if f.family == wanted]


def mixed_pairs(run: Run) -> list[Pair]:
    """Every mixed recipe with the standard file of its base: DynamicGate, its variants, ablations and users' own.

    Not automatic recipes, which have a size and no base to compare with (see equal_size.py).
    """
    families = dict.fromkeys(f.family for f in run.files.values())
    mixed = [f for f in families if f not in ("Standard", "Reference") and not f.startswith(AUTOMATIC)]
    return [p for family in mixed for p in pairs(run, family)]


def published_table(run: Run) -> pd.DataFrame:
    """The published form, column for column, as text."""
    rows = []
    for pair in pairs(run):
        std, gated = run.results(pair.standard), run.results(pair.gated)
        std_file, gated_file = run.files.get(pair.standard or ""), run.files.get(pair.gated or "")
        big = any(f is not None and f.n_bytes >= 999_950_000 for f in (std_file, gated_file))
        rows.append(
            {
                "Quantization": pair.base,
                "Standard PPL": perplexity_text(stats.perplexity(std).ppl.value) if std else MISSING,
                "DynamicGate PPL": perplexity_text(stats.perplexity(gated).ppl.value) if gated else MISSING,
                "Δ PPL": percent(stats.perplexity_change(std, gated).value) if std and gated else MISSING,
                "Std Size": size(std_file.n_bytes, gigabytes=big) if std_file else MISSING,
                "DG Size": size(gated_file.n_bytes, gigabytes=big) if gated_file else MISSING,
                "Δ Size": size(gated_file.n_bytes - std_file.n_bytes, sign=True, gigabytes=big)
                if std_file and gated_file
                else MISSING,
                "Std Speed": seconds(stats.speed(std, run.identity.settings).seconds.median) if std else MISSING,
                "DG Speed": seconds(stats.speed(gated, run.identity.settings).seconds.median) if gated else MISSING,
            }
        )
    return pd.DataFrame(rows, columns=pd.Index(PUBLISHED_COLUMNS))


PUBLISHED_COLUMNS = [
    "Quantization",
    "Standard PPL",
    "DynamicGate PPL",
    "Δ PPL",
    "Std Size",
    "DG Size",
    "Δ Size",
    "Std Speed",
    "DG Speed",
]


def full_frame(run: Run) -> pd.DataFrame:
    """One row a file with raw numbers, the reference first; NaN where there is no figure. Units stand in the names."""
    reference = run.reference
    standard_of = {p.gated: p.standard for p in mixed_pairs(run)}
    rows = []
    for name, file in run.files.items():
        windows = run.results(name)
        row: dict[str, object] = {
            "recipe": name,
            "family": file.family,
            "base": file.base,
            "bytes": file.n_bytes,
            "bits_per_weight": file.bits_per_weight,
            "windows": len(run.windows[name]),
            "replaced_tensors": len(file.replaced),
            "sha256": file.sha256,
        }
        if windows:
            ppl, speed = stats.perplexity(windows), stats.speed(windows, run.identity.settings)
            row |= _interval("ppl", ppl.ppl) | {"ppl_se": ppl.se, "tokens": ppl.tokens}
            row |= {
                "window_seconds": speed.seconds.median,
                "window_seconds_half_iqr": speed.seconds.half_iqr,
                "prompt_tokens_per_second": speed.prompt,
                "generation_tokens_per_second": speed.generation,
                "load_seconds": speed.load_seconds,
                "peak_memory_bytes": speed.peak_memory_bytes,
                "disturbed_passes": speed.disturbed,
            }
            base = run.results(reference) if name != reference else None
            if base:
                row |= _interval("ppl_change_vs_reference", stats.perplexity_change(base, windows))
            if base and (found := agreement(base, windows)):
                row |= _interval("kl", found.kl) | _interval("same_top", found.same_top)
                row |= _interval("p_change_rms", found.p_change_rms)
                row |= {f"kl_{p:g}": found.kl_percentiles[p] for p in (50, 90, 95, 99, 99.9)} | {"kl_max": found.kl_max}
                row |= {"right_to_wrong": found.right_to_wrong, "wrong_to_right": found.wrong_to_right}
            if std := run.results(standard_of.get(name)):
                row |= _interval("ppl_change_vs_standard", stats.perplexity_change(std, windows))
                row |= _interval(
                    "time_ratio_vs_standard", stats.time_ratio(*run.same_sitting(standard_of[name] or "", name))
                )
        rows.append(row)
    return pd.DataFrame(rows)


def _interval(name: str, estimate: stats.Estimate) -> dict[str, object]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def full_table(run: Run) -> pd.DataFrame:
    """full_frame as text for people."""
    rows = []
    for row in full_frame(run).to_dict("records"):
        window = _cell(row, "window_seconds", "{:.2f}".format)
        spread = _cell(row, "window_seconds_half_iqr", " ± {:.2f} s".format)
        rows.append(
            {
                "Recipe": row["recipe"],
                "Size": size(row["bytes"]),
                "BPW": f"{row['bits_per_weight']:.3f}",
                "PPL [95 %]": _cell(row, "ppl", perplexity_text),
                "SE": _cell(row, "ppl_se", "{:.2f}".format),
                "vs reference": _cell(row, "ppl_change_vs_reference", percent),
                "Window": MISSING if window == MISSING else window + spread,
                "pp": _cell(row, "prompt_tokens_per_second", "{:.0f}".format),
                "tg": _cell(row, "generation_tokens_per_second", "{:.1f}".format),
                "Memory": _cell(row, "peak_memory_bytes", size),
                "Load": _cell(row, "load_seconds", "{:.2f} s".format),
            }
        )
    return pd.DataFrame(rows)


def _cell(row: Mapping[Hashable, Any], key: str, form: Callable[[float], str]) -> str:
    """A figure with its interval, where it has one."""
    if key not in row or pd.isna(row[key]):
        return MISSING
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    return with_interval(stats.Estimate(row[key], *(None if pd.isna(x) else x for x in (low, high))), form)


def reference_table(run: Run) -> pd.DataFrame:
    """How far every recipe is from the reference, as text; empty for a run that did not compare."""
    rows = []
    for row in full_frame(run).to_dict("records"):
        if "kl" not in row or pd.isna(row["kl"]):
            continue
        rows.append(
            {
                "Recipe": row["recipe"],
                "KL [95 %]": _cell(row, "kl", divergence_text) + (" (floor)" if at_floor(run, row["kl"]) else ""),
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


def others_table(run: Run) -> pd.DataFrame:
    """Files that were not built here: where they come from and what their headers say of their making; empty without any."""
    rows = []
    for name, file in run.files.items():
        if file.origin and file.family != "Reference":
            types = ", ".join(
                f"{t} {share(n / sum(file.weights_by_type.values()))}"
                for t, n in list(file.weights_by_type.items())[:3]
            )
            told = "; ".join(f"{what}: {value}" for what, value in file.told.items())
            rows.append(
                {
                    "Recipe": name,
                    "From": file.origin,
                    "Weights by type": types,
                    "Its header says": told or "nothing of its making",
                }
            )
    return pd.DataFrame(rows)


def floor_kl(run: Run) -> float | None:
    """Mean KL divergence of the reference against itself with other settings, in nats."""
    found = mean_kl([run.floor.result]) if run.floor else None
    return None if found is None else float(found.mean())


def at_floor(run: Run, kl: float) -> bool:
    """Whether a divergence is no larger than what rounding does to the reference itself."""
    floor = floor_kl(run)
    return floor is not None and kl <= floor


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
        by_kind = of(windows) if (windows := run.results(name)) else {}
        if by_kind:
            rows.append({"Recipe": name} | {kind: form(value) for kind, value in by_kind.items()})
    table = pd.DataFrame(rows)
    return table if len(table.columns) > 2 else pd.DataFrame()


def divergence_text(value: float) -> str:
    return f"{value:.4f}" if value >= 0.001 else f"{value:.1e}"


def divergence_change(value: float) -> str:
    return f"{value:+.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:+.1e}"


def share(value: float) -> str:
    return f"{100 * value:.1f}%"


def paired_table(run: Run) -> pd.DataFrame:
    """Mixed recipes against the standard of the same base: paired change of perplexity and of time, with intervals and a verdict."""
    rows = []
    for pair in mixed_pairs(run):
        std, gated = run.results(pair.standard), run.results(pair.gated)
        if not (std and gated):
            continue
        change, ratio = (
            stats.perplexity_change(std, gated),
            stats.time_ratio(*run.same_sitting(pair.standard or "", pair.gated or "")),
        )
        kl = kl_change(std, gated)
        files = run.files[pair.standard or ""], run.files[pair.gated or ""]
        rows.append(
            {
                "Recipe": pair.gated,
                "Against": pair.standard,
                "Δ PPL [95 %]": with_interval(change, percent),
                "Verdict": verdict(change, "better", "worse"),
                "Δ KL [95 %]": with_interval(kl, divergence_change) if kl else MISSING,
                "Δ Size": percent(files[1].n_bytes / files[0].n_bytes - 1),
                "Time ratio [95 %]": with_interval(ratio, "{:.3f}".format),
                "Time": time_verdict(ratio),
            }
        )
    return pd.DataFrame(rows)


def with_interval(estimate: stats.Estimate, form: Callable[[float], str]) -> str:
    """`-50.0% [-52.1%, -48.3%]`, or the value alone."""
    if math.isnan(estimate.value):
        return MISSING
    if estimate.low is None or estimate.high is None:
        return form(estimate.value)
    return f"{form(estimate.value)} [{form(estimate.low)}, {form(estimate.high)}]"


def verdict(change: stats.Estimate, lower: str, higher: str) -> str:
    """What a paired change with its interval allows to say."""
    shown = change.excludes(0)
    if shown is None:
        return "too few windows for an interval"
    return (lower if change.value < 0 else higher) if shown else "no difference shown"


#: A ratio of times whose interval is wider than this says nothing about differences of a few percent.
_TOO_NOISY = 0.10


def time_verdict(ratio: stats.Estimate) -> str:
    """What a paired ratio of times allows to say, with how much noise there is where it allows nothing."""
    if math.isnan(ratio.value):
        return "not measured in one sitting"
    if ratio.low is None or ratio.high is None:
        return "too few passes for an interval"
    if ratio.excludes(1):
        return "slower" if ratio.value > 1 else "faster"
    if ratio.high - ratio.low > _TOO_NOISY:
        return f"too noisy to say (interval {100 * (ratio.high - ratio.low):.0f} points wide)"
    return "no difference shown"


def markdown(table: pd.DataFrame, *, text: str | None = None) -> str:
    """A Markdown table whose columns also line up as plain text: first column left, others right.

    text: a last column of long texts, which stands left and is not padded.
    """
    cells = [list(table.columns), *table.astype(str).to_numpy().tolist()]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    left = [i == 0 or c == text for i, c in enumerate(table.columns)]
    if text is not None:
        widths[-1] = len(text)

    def line(row: list[str]) -> str:
        padded = [c.ljust(w) if at else c.rjust(w) for c, w, at in zip(row, widths, left, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (w - 1) if at else "-" * (w - 1) + ":" for w, at in zip(widths, left, strict=True)]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])
