"""One file's score and speed, outside a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from bench.core.errors import BenchError
from bench.core.machine import Machine
from bench.engine.settings import LibraryInfo, Settings
from bench.measures.windows import statistics as stats
from bench.measures.windows.single import Scored
from bench.statistics.estimates import Estimate


@dataclass(frozen=True, repr=False)
class Score:
    """The scores and the speed of a file on a text.

    ppl: perplexity; ppl_low, ppl_high: the ends of its 95 % interval over windows, None for fewer than 6; ppl_se: the
    token-level standard error that llama-perplexity prints; tokens: how many were scored.
    window_seconds: time to process one window, median, and half the interquartile range; prompt_tokens_per_second,
    generation_tokens_per_second: None when nothing was generated; load_seconds: median; peak_memory_bytes: of the process.
    windows: one row per window. Index: window; columns: tokens, nll (nats, their sum), ppl, seconds, generate_seconds.
    file, text, settings, library (the engine), machine: the conditions of the measurement.
    """

    file: Path
    text: str
    ppl: float
    ppl_low: float | None
    ppl_high: float | None
    ppl_se: float
    tokens: int
    window_seconds: float
    window_seconds_half_iqr: float
    prompt_tokens_per_second: float
    generation_tokens_per_second: float | None
    load_seconds: float
    peak_memory_bytes: int
    windows: pd.DataFrame
    settings: Settings
    library: LibraryInfo
    machine: Machine
    _scored: Scored = field(compare=False)

    def change(self, other: Score) -> Estimate:
        """Change of perplexity from another file to this one, ratio - 1, paired window by window, with its 95 % interval.

        Raises BenchError when the two files were not scored on the same tokens.
        """
        found = self._scored.change(other._scored)
        if found is None:
            raise BenchError(
                f"{self.file} and {other.file}: were not scored on the same tokens, so they are not comparable; score both on the "
                "same text, with models of one tokenizer"
            )
        return found

    def __repr__(self) -> str:
        return (
            f"Score({self.file.name}, ppl={self.ppl:.4f}, {len(self.windows)} windows of {self.settings.window} tokens)"
        )


def score_of(scored: Scored) -> Score:
    """The Score of windows that were scored."""
    p, s = stats.perplexity(scored.windows), stats.speed(scored.windows, scored.settings)
    rows = [
        {
            "window": w.window,
            "tokens": sum(k.tokens for k in w.by_kind.values()),
            "nll": sum(k.nll for k in w.by_kind.values()),
            "ppl": stats.perplexity([w]).ppl.value,
            "seconds": w.seconds,
            "generate_seconds": w.generate_seconds,
        }
        for w in scored.windows
    ]
    return Score(
        file=scored.model,
        text=scored.text,
        ppl=p.ppl.value,
        ppl_low=p.ppl.low,
        ppl_high=p.ppl.high,
        ppl_se=p.se,
        tokens=p.tokens,
        window_seconds=s.window.value,
        window_seconds_half_iqr=s.spread.half_iqr,
        prompt_tokens_per_second=s.prompt,
        generation_tokens_per_second=s.generation.value if s.generation else None,
        load_seconds=s.load_seconds,
        peak_memory_bytes=stats.peak_memory(scored.windows),
        windows=pd.DataFrame(rows).astype({"generate_seconds": "float64"}).set_index("window"),
        settings=scored.settings,
        library=scored.library,
        machine=scored.machine,
        _scored=scored,
    )
