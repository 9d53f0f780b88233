"""Windows of one file, apart from a run: what `ppl` and `time` tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.formats import MISSING, percent, size
from bench.core.machine import Machine, this_machine
from bench.engine.settings import LibraryInfo, Settings
from bench.gguf_files.info import inspect
from bench.measures.windows import statistics as stats
from bench.measures.windows.jobs import MeasureJob, WindowResult
from bench.models.sources import local_model
from bench.statistics.estimates import Estimate
from bench.statistics.verdicts import verdict, with_interval
from bench.texts.stream import TokenStream
from bench.workbench.checks import check_window, check_windows
from bench.workbench.work import Work

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Scored:
    """Windows of one file, with what they were measured on. tokens: hash of the text as this file's tokenizer has it."""

    model: Path
    text: str
    settings: Settings
    library: LibraryInfo
    machine: Machine
    tokens: str = field(repr=False)
    windows: tuple[WindowResult, ...] = field(repr=False)

    def perplexity_json(self) -> dict[str, object]:
        p = stats.perplexity(self.windows)
        return {
            "model": str(self.model),
            "text": self.text,
            "ppl": p.ppl.value,
            "ppl_low": p.ppl.low,
            "ppl_high": p.ppl.high,
            "se": p.se,
            "tokens": p.tokens,
            "windows": p.windows,
            "window": self.settings.window,
            "threads": self.settings.threads,
            "isa": self.library.isa,
            "seconds": [w.seconds for w in self.windows],
            "nll": [sum(s.nll for s in w.by_kind.values()) for w in self.windows],
            "peak_memory_bytes": max(w.peak_memory_bytes for w in self.windows),
        }

    def perplexity_text(self) -> str:
        p = stats.perplexity(self.windows)
        interval = f", 95 % interval {p.ppl.low:.4f} to {p.ppl.high:.4f}" if p.ppl.low and p.ppl.high else ""
        few = "" if p.ppl.has_interval else f"; {p.windows} windows are too few for an interval"
        return (
            f"{self.model.name}: PPL = {p.ppl.value:.4f} ± {p.se:.5f} (token-level standard error{interval}) over {p.tokens:,} tokens "
            f"of {self.text}, {p.windows} windows of {self.settings.window}{few}"
        )

    def change(self, other: Scored) -> Estimate | None:
        """Change of perplexity from another file to this one, paired by window; None where their tokens differ."""
        return stats.perplexity_change(other.windows, self.windows) if self.tokens == other.tokens else None

    def speed_json(self) -> dict[str, object]:
        s = stats.speed(self.windows, self.settings)
        return {
            "model": str(self.model),
            "window": self.settings.window,
            "threads": self.settings.threads,
            "isa": self.library.isa,
            "machine": self.machine.model_dump(mode="json"),
            "window_seconds": s.seconds.median,
            "window_seconds_half_iqr": s.seconds.half_iqr,
            "prompt_tokens_per_second": s.prompt,
            "generation_tokens_per_second": s.generation,
            "load_seconds": s.load_seconds,
            "peak_memory_bytes": s.peak_memory_bytes,
            "rounds": s.seconds.n,
            "disturbed_rounds": s.disturbed,
            "seconds": [w.seconds for w in self.windows],
            "generation_seconds": [w.generate_seconds for w in self.windows],
        }

    def speed_text(self) -> str:
        s = stats.speed(self.windows, self.settings)
        disturbed = f"; {s.disturbed} of {s.seconds.n} rounds were disturbed by other load" if s.disturbed else ""
        return (
            f"{self.model.name}: {s.seconds.median:.2f} ± {s.seconds.half_iqr:.2f} s for {self.settings.window} tokens "
            f"({s.prompt:.1f} tokens/s), generation {s.generation:.1f} tokens/s, load {s.load_seconds:.2f} s, "
            f"memory {s.peak_memory_bytes / 1e6:.0f} MB (median ± half the interquartile range of {s.seconds.n} rounds, "
            f"{self.settings.threads} threads, {self.library.isa}, {self.machine.cpu}){disturbed}"
        )


def compared_json(scored: Sequence[Scored], base: Scored) -> list[dict[str, object]]:
    """Several files, each with its change of perplexity against `base`, for programs."""
    rows = []
    for s in scored:
        change = s.change(base) if s is not base else None
        found = None if change is None else {"value": change.value, "low": change.low, "high": change.high}
        rows.append(s.perplexity_json() | {"against": str(base.model), "change": found})
    return rows


def compared_table(scored: Sequence[Scored], base: Scored) -> pd.DataFrame:
    """Several files, each held against `base`, as text."""
    import pandas as pd

    rows = []
    for s in scored:
        p, change = stats.perplexity(s.windows), s.change(base)
        own = s is base
        rows.append(
            {
                "File": s.model.name,
                "Size": size(s.model.stat().st_size),
                "PPL": f"{p.ppl.value:.4f} ± {p.se:.4f}",
                "Δ PPL [95 %]": MISSING if own or change is None else with_interval(change, percent),
                "Verdict": MISSING
                if own
                else "other tokens, not comparable"
                if change is None
                else verdict(change, "better", "worse"),
            }
        )
    return pd.DataFrame(rows)


def compared_key(base: Scored) -> str:
    """What the columns of that table mean."""
    p = stats.perplexity(base.windows)
    return (
        f"PPL: perplexity of {base.text}, {p.tokens:,} tokens in {p.windows} windows of {base.settings.window}, ± its token-level "
        f"standard error\nΔ PPL: change from {base.model.name}, paired by window"
    )


def score(work: Work, named: str, *, timed: bool = True, rounds: int | None = None) -> Scored:
    """Score and time one file in a worker process, on the text and in the windows that the options say.

    timed: with pytest-benchmark. rounds: that many timed rounds on as many windows as there are, from the first again when
    they run out, instead of as many as there are windows.
    """
    options, settings = work.options, work.settings
    if options.isa is not None:
        _ = work.library  # a process of its own: only where it can refuse
    path = local_model(named, options.cache, work.reporter).path
    info = inspect(path)
    check_window(info, options.window)
    scored = work.text(options.windows)
    model = work.executor.hold(info.path)
    stream = work.stream(scored.source, info, model)
    n_windows = check_windows(stream, options.window, options.windows, default=None)
    tokens = TokenStream.load(work.executor.site.path(stream.content)).sha256
    chosen = tuple(i % n_windows for i in range(rounds or n_windows))
    job = MeasureJob(model=model, stream=stream.content, windows=chosen, settings=settings, timed=timed)
    with work.reporter.steps(path.name, len(chosen)) as steps:
        done = work.executor.do(job, lambda share: steps.share(share * len(chosen)))
    return Scored(path, scored.name, settings, done.library, this_machine(), tokens, done.windows)
