"""Checks before anything begins: options that contradict each other and impossible requests are refused."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.errors import BenchError
from bench.core.machine import allowed_cpus, cpus_for, default_threads
from bench.engine.settings import LibraryInfo
from bench.gguf_files.info import ModelInfo
from bench.quantize.imatrix import check_prior
from bench.quantize.imatrix_file import read
from bench.recipes.needs import format_needs_importance
from bench.recipes.recipe import Recipe
from bench.records.identity import Until
from bench.statistics.layout import MIN_FOR_INTERVAL
from bench.texts import prompts
from bench.workbench.kept import Stream
from bench.workbench.options import DEFAULT_WINDOWS, Options
from bench.workbench.text import Text


def check_importance(options: Options, recipes: list[Recipe]) -> None:
    """Raise BenchError for options that contradict each other, recipes that need what was declined, and a file that is no
    importance matrix; whether it is one of the model, `Work.importance` says."""
    if options.no_imatrix and (options.imatrix or (options.calibration and not any(r.size for r in recipes))):
        raise BenchError("--no-imatrix contradicts --imatrix and --calibration; leave one of them out")
    if options.imatrix and options.calibration and not any(r.size for r in recipes):
        raise BenchError("--imatrix is used as it is, so --calibration would do nothing; leave one of them out")
    if options.calibration_chunks and (options.imatrix or options.no_imatrix):
        raise BenchError("--calibration-chunks cuts the calibration text short, which is not used here; leave it out")
    check_prior(options.prior_weight)
    if options.no_imatrix and options.prior_weight:
        raise BenchError(
            "--prior-weight belongs to an importance matrix, and --no-imatrix declines it; leave one of them out"
        )
    needing = [r.name for r in recipes if format_needs_importance(r.base)]
    if options.no_imatrix and needing:
        raise BenchError(
            f"{needing[0]} needs an importance matrix: pass --imatrix FILE, or leave --no-imatrix out to compute one"
        )
    if options.imatrix:
        read(options.imatrix)


def check_texts(options: Options, text: Text, recipes: list[Recipe]) -> None:
    """Raise BenchError where a recipe would be chosen on the very text that it is judged by."""
    chosen = next((r.name for r in recipes if r.size), None)
    if chosen is None or options.calibration is None:
        return
    if text.sha256 == prompts.identify(options.calibration)[1]:
        raise BenchError(
            f"the scored text and --calibration are the same, so {chosen} would be chosen on what it is judged by; give another --calibration"
        )


def check_threads(threads: int | None) -> int:
    """The number of threads: as asked, or one for each physical core. Raises BenchError for more than there are CPUs."""
    wanted = default_threads() if threads is None else threads
    if not 1 <= wanted <= (available := len(cpus_for(10_000))):
        raise BenchError(
            f"--threads {wanted}: this machine lets this process use 1 to {available} CPUs; choose a number in that range"
        )
    return wanted


def check_cpus(cpus: Sequence[int]) -> None:
    """Raise BenchError where CPUs that a run is timed on were taken away from this process meanwhile."""
    if taken := sorted(set(cpus) - set(allowed_cpus())):
        s, were = ("s", "were") if len(taken) > 1 else ("", "was")
        raise BenchError(
            f"CPU{s} {', '.join(map(str, taken))} {were} taken away from this program during the run, and times on fewer CPUs do not compare with those "
            "before; what was measured is kept: give them back and the same command goes on, or measure anew with fewer --threads and another --out"
        )


def check_library(library: LibraryInfo, isa: str | None) -> None:
    """Raise BenchError when the library was not built for the required instruction set."""
    if isa is not None and isa.upper() != library.isa.upper():
        raise BenchError(
            f"--isa {isa}: the installed llama.cpp was built for {library.isa} ({', '.join(library.features)}); rebuild it with "
            f"`BENCH_ENGINE={'native' if isa.upper() != 'AVX2' else 'avx2'} nox -s bench`, or leave --isa out to measure with what is there"
        )


def check_window(model: ModelInfo, window: int) -> None:
    if window < 4 or window % 2:
        raise BenchError(f"--window {window}: must be an even number of at least 4 tokens")
    limit = model.context_length
    if limit and window > limit:
        raise BenchError(
            f"--window {window}: {model.name} was trained for a context of {limit} tokens; use --window {min(limit, 2048)}"
        )


def check_until(until: Until | None, windows: int) -> None:
    """Raise BenchError where the text has too few windows for any interval."""
    if until is not None and windows < MIN_FOR_INTERVAL:
        raise BenchError(
            f"--until {str(until)!r}: an interval needs at least {MIN_FOR_INTERVAL} windows and there are {windows}; give a longer text, "
            "a smaller --window or larger --windows, or leave --until out"
        )


def check_windows(stream: Stream, window: int, asked: int | None, default: int | None = DEFAULT_WINDOWS) -> int:
    """How many windows to score: as asked, or the default, or all of the text when it is shorter. Raises BenchError when the text has fewer than asked for, or none."""
    available = stream.tokens // window
    if available == 0:
        raise BenchError(
            f"{stream.name}: has {stream.tokens:,} tokens, fewer than one window of {window}; give a longer text or a smaller --window"
        )
    if asked is not None and not 1 <= asked <= available:
        raise BenchError(
            f"--windows {asked}: {stream.name} has 1 to {available} windows of {window} tokens; choose a number in that range"
        )
    return asked or min(available, default or available)
