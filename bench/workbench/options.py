"""What a user may ask for, its defaults, and what is refused before anything begins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.machine import cpus_for, default_threads
from bench.core.progress import Reporter
from bench.execute.jobs import LibraryInfo, LibraryJob
from bench.execute.local import run_job
from bench.gguf_files.info import ModelInfo
from bench.models.reference import Reference
from bench.recipes.needs import format_needs_importance
from bench.recipes.recipe import SUITES, Recipe
from bench.texts import prompts
from bench.workbench import files

DEFAULT_RECIPES = SUITES["dynamicgate"]
DEFAULT_WINDOWS = 8


@dataclass(frozen=True)
class Options:
    """What to run. None stands for the default: model, text, windows (8, or what a shorter text has), threads, out."""

    model: str | None = None
    recipes: tuple[str, ...] = DEFAULT_RECIPES
    compare: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    assistant_only: bool = False
    samples: int = 0
    prompts: tuple[str, ...] = ()
    text: Path | None = None
    dataset: str | None = None
    windows: int | None = None
    window: int = 2048
    threads: int | None = None
    generate: int = 32
    imatrix: Path | None = None
    no_imatrix: bool = False
    calibration: Path | None = None
    calibration_chunks: int = 0
    isa: str | None = None
    allow_quantized: bool = False
    widen: bool = False
    propagation: bool = False
    out: Path | None = None
    cache: Path = Path(".cache")


def check_importance(options: Options, recipes: list[Recipe]) -> None:
    """Raise BenchError for options that contradict each other, and recipes that need what was declined."""
    if options.no_imatrix and (options.imatrix or (options.calibration and not any(r.size for r in recipes))):
        raise BenchError("--no-imatrix contradicts --imatrix and --calibration; leave one of them out")
    if options.imatrix and options.calibration and not any(r.size for r in recipes):
        raise BenchError("--imatrix is used as it is, so --calibration would do nothing; leave one of them out")
    if options.calibration_chunks and (options.imatrix or options.no_imatrix):
        raise BenchError("--calibration-chunks cuts the calibration text short, which is not used here; leave it out")
    needing = [r.name for r in recipes if format_needs_importance(r.base)]
    if options.no_imatrix and needing:
        raise BenchError(
            f"{needing[0]} needs an importance matrix: pass --imatrix FILE, or leave --no-imatrix out to compute one"
        )


@dataclass(frozen=True)
class Text:
    """What is scored. source: a part of the fixed prompts or a file; name, sha256: as results are identified by.

    fingerprint: of a dataset, with the commit that its name stood for.
    """

    source: Path | str
    name: str
    sha256: str
    fingerprint: str | None = None

    @property
    def source_version(self) -> dict[str, str]:
        """For the record's header, beside the versions of programs."""
        return {"dataset": self.fingerprint} if self.fingerprint else {}


#: Bytes of text to take of a dataset that is read as it comes: for this many windows or fewer the same text.
_DATASET_WINDOWS, _BYTES_PER_TOKEN = 128, 16


def scored_text(
    text: Path | None, dataset: str | None, window: int, windows: int | None, cache: Path, reporter: Reporter
) -> Text:
    """The text to score: the fixed prompts, a file's or a dataset's. Raises BenchError for both of the latter.

    windows: how many are to be scored, None for all of the text: of a dataset only as many rows are taken as that needs.
    """
    if text is not None and dataset is not None:
        raise BenchError("--text and --dataset both say what to score; leave one of them out")
    if dataset is None:
        return Text(text or prompts.EVALUATION, *prompts.identify(text or prompts.EVALUATION))
    from bench.texts.dataset import dataset_text

    limit = max(windows, _DATASET_WINDOWS) * window * _BYTES_PER_TOKEN if windows else None
    if re.fullmatch(r"(wikitext|wikitext-2)(@[^:]*)?(:.*)?", dataset):
        limit = None  # known as a whole, and small
    found = dataset_text(dataset, cache, limit_bytes=limit, reporter=reporter)
    name = f"{found.name}, its first {found.path.stat().st_size / 1e6:.1f} MB" if found.cut else found.name
    return Text(found.path, name, found.sha256, found.fingerprint)


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


def check_library(isa: str | None) -> LibraryInfo:
    """What the loaded library reports. Raises BenchError when it was not built for the required instruction set."""
    found = run_job(LibraryJob(), LibraryInfo)
    if isa is not None and isa.upper() != found.isa.upper():
        raise BenchError(
            f"--isa {isa}: the installed llama.cpp was built for {found.isa} ({', '.join(found.features)}); rebuild it with "
            f"`BENCH_ISA={'native' if isa.upper() != 'AVX2' else 'avx2'} nox -s bench`, or leave --isa out to measure with what is there"
        )
    return found


def check_window(model: ModelInfo, window: int) -> None:
    if window < 4 or window % 2:
        raise BenchError(f"--window {window}: must be an even number of at least 4 tokens")
    limit = model.context_length
    if limit and window > limit:
        raise BenchError(
            f"--window {window}: {model.name} was trained for a context of {limit} tokens; use --window {min(limit, 2048)}"
        )


def check_windows(stream: files.Stream, window: int, asked: int | None, default: int | None = DEFAULT_WINDOWS) -> int:
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


def importance_file(
    options: Options, reference: Reference, library: LibraryInfo, threads: int, cpus: list[int], reporter: Reporter
) -> Path | None:
    """The importance matrix to quantize with: the user's, one computed from the calibration text, or none."""
    if options.no_imatrix or options.imatrix:
        return options.imatrix
    calibration = files.token_stream(reference.info, options.calibration or prompts.CALIBRATION, options.cache)
    with reporter.steps("Importance matrix", 1) as steps:
        return files.importance(
            reference, calibration, options.calibration_chunks, library, options.cache, threads, cpus, steps.share
        )
