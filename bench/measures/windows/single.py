"""Windows of one file, outside a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.core.machine import Machine, this_machine
from bench.engine.settings import LibraryInfo, Settings
from bench.execute.content import Content
from bench.gguf_files.info import ModelInfo, inspect
from bench.measures.windows import statistics as stats
from bench.measures.windows.jobs import MeasureJob, WindowResult
from bench.models.sources import local_model
from bench.statistics.estimates import Estimate
from bench.statistics.layout import MIN_FOR_INTERVAL
from bench.texts.stream import TokenStream
from bench.workbench.checks import check_window, check_windows
from bench.workbench.work import Work


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
            "scored_on": "CPU" if (offload := self.settings.offload) is None else offload.in_words,
            # times are the CPU's or none
            "seconds": [w.seconds if offload is None else None for w in self.windows],
            "nll": [sum(s.nll for s in w.by_kind.values()) for w in self.windows],
            "peak_memory_bytes": max(w.peak_memory_bytes for w in self.windows),
        }

    def perplexity_text(self) -> str:
        p = stats.perplexity(self.windows)
        interval = f", 95 % interval {p.ppl.low:.4f} to {p.ppl.high:.4f}" if p.ppl.low and p.ppl.high else ""
        few = (
            ""
            if p.ppl.has_interval
            else f"; {p.windows} windows are too few for an interval ({MIN_FOR_INTERVAL} are needed)"
        )
        on = "" if self.settings.offload is None else f", on {self.settings.offload.in_words}"
        return (
            f"{self.model.name}: PPL = {p.ppl.value:.4f} ± {p.se:.5f} (token-level standard error{interval}) over {p.tokens:,} tokens "
            f"of {self.text}, {p.windows} windows of {self.settings.window}{self.settings.scored_text}{on}{few}"
        )

    def change(self, other: Scored) -> Estimate | None:
        """Change of perplexity from another file to this one, paired by window; None where their tokens differ."""
        return stats.perplexity_change(other.windows, self.windows) if self.tokens == other.tokens else None


@dataclass(frozen=True)
class Opened:
    """A file that is about to be scored. text: name of what is scored; stream: it as the file's tokens, of which `tokens` is the
    hash; windows: how many of it."""

    path: Path
    info: ModelInfo
    model: Content
    text: str
    stream: Content
    tokens: str
    windows: int


def opened(work: Work, named: str) -> Opened:
    """A file, fetched if it must be, with the text in its tokens. Raises BenchError for what is no model, a window that is too
    long for it, and a text that is too short."""
    options = work.options
    path = local_model(named, options.cache, work.reporter).path
    info = inspect(path)
    check_window(info, options.window)
    text = work.text(options.windows)
    model = work.executor.hold(info.path)
    stream = work.stream(text.source, info, model)
    n_windows = check_windows(stream, options.window, options.windows, default=None)
    tokens = TokenStream.load(work.executor.site.path(stream.content)).sha256
    return Opened(path, info, model, text.name, stream.content, tokens, n_windows)


def score(work: Work, named: str, *, timed: bool = True) -> Scored:
    """Score and time one file in a worker process, on the text and in the windows that the options say.

    timed: with pytest-benchmark.
    """
    if work.options.isa is not None:
        _ = work.library  # a process of its own: only where it can refuse
    settings = work.settings
    with work.scratch_files():
        file = opened(work, named)
        chosen = tuple(range(file.windows))
        job = MeasureJob(model=file.model, stream=file.stream, windows=chosen, settings=settings, timed=timed)
        with work.reporter.steps(file.path.name, len(chosen)) as steps:
            done = work.executor.do(job, lambda share: steps.share(share * len(chosen)))
    return Scored(file.path, file.text, settings, done.library, this_machine(), file.tokens, done.windows)
