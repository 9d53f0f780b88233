"""The sweep: reference and recipes, scored and timed window by window, resumable at any point.

    model -> importance matrix -> one file for each recipe -> passes -> records

A pass visits every recipe once, each in a fresh process, with one window of the text: it is scored and timed in the same
decode. So the recipes' timings are interleaved as closely as can be, every ratio is formed within a pass, and a run that
stops anywhere has lost one window of one recipe at most. What is on record is not done again.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import files, prompts
from bench.errors import BenchError, MeasurementError
from bench.jobs import LibraryInfo, LibraryJob, MeasureJob, MeasureResult, Settings
from bench.machine import cpus_for, default_threads, this_machine
from bench.models import Reference, reference
from bench.process import run_job
from bench.progress import Reporter
from bench.recipes import Recipe, find_recipe
from bench.results import (
    FailureRecord,
    FileRecord,
    Identity,
    ImportanceIdentity,
    ModelIdentity,
    Run,
    RunStore,
    TextIdentity,
    WindowRecord,
)

DEFAULT_BASES = ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S")
DEFAULT_RECIPES = tuple(name for base in DEFAULT_BASES for name in (base, f"DG-{base}"))
DEFAULT_WINDOWS = 8

#: A recipe whose measurements fail this often in one sitting is given up until the next.
_FAILURES_TO_GIVE_UP = 2


@dataclass(frozen=True)
class Options:
    """What to run. None stands for the default: model, text, windows (8, or what a shorter text has), threads, out."""

    model: Path | None = None
    recipes: tuple[str, ...] = DEFAULT_RECIPES
    text: Path | None = None
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
    out: Path | None = None
    cache: Path = Path(".cache")


class Sweep:
    """A run's plan and its execution. Raises BenchError for anything that makes the run impossible, before it begins."""

    def __init__(self, options: Options, reporter: Reporter) -> None:
        self.options, self.reporter = options, reporter
        self.recipes = [find_recipe(name) for name in dict.fromkeys(options.recipes)]
        check_importance(options, self.recipes)
        self.threads = check_threads(options.threads)
        self.cpus = cpus_for(self.threads)
        self.library = check_library(options.isa)
        self.reference = reference(
            options.model,
            options.cache,
            allow_quantized=options.allow_quantized,
            widen_to_256=options.widen,
            reporter=reporter,
        )
        self.settings = Settings(
            window=options.window,
            batch=options.window,
            ubatch=min(512, options.window),
            threads=self.threads,
            generate=min(options.generate, options.window),
        )
        check_window(self.reference, options.window)
        self.stream = files.token_stream(
            self.reference, options.text or prompts.EVALUATION, options.cache, self.library
        )
        self.windows = check_windows(self.stream, options.window, options.windows)
        self.identity = Identity(
            model=model_identity(self.reference),
            prompts=TextIdentity(
                **dict(zip(("name", "sha256"), prompts.identify(options.text or prompts.EVALUATION), strict=True))
            ),
            importance=self._importance_identity(),
            windows=self.windows,
            settings=self.settings,
            library=self.library,
            machine=this_machine(),
        )
        self.directory = options.out or default_directory(self.identity)

    def _importance_identity(self) -> ImportanceIdentity | None:
        o = self.options
        if o.no_imatrix:
            return None
        if o.imatrix is not None:
            return ImportanceIdentity(
                source="file", name=o.imatrix.name, sha256=files.importance_file_hash(o.imatrix), chunks=None
            )
        name, digest = prompts.identify(o.calibration or prompts.CALIBRATION)
        return ImportanceIdentity(source="collected", name=name, sha256=digest, chunks=o.calibration_chunks)

    @cached_property
    def reference_label(self) -> str:
        return next(iter(self.reference.info.weights_by_type))

    @property
    def names(self) -> list[str]:
        """What this sweep measures: the reference and the recipes."""
        return [self.reference_label, *(r.name for r in self.recipes if r.name != self.reference_label)]

    def execute(self) -> Run:
        """Do what is not on record yet. Every measurement is on disk before the next begins."""
        with RunStore(self.directory, self.identity, versions(self.library)) as store:
            if store.repaired:
                self.reporter.warn(store.repaired)
            recipes = [r for r in self.recipes if r.name != self.reference_label]
            names = self.names
            done = sum(len(store.run.windows.get(n, {})) for n in names)
            if done == len(names) * self.windows:
                return store.run
            if done or store.run.files:
                self.reporter.say(
                    f"Continuing {self.directory}: {done} of {len(names) * self.windows} measurements are on record"
                )
            paths = self._build(store, recipes)
            self._passes(store, paths)
            return store.run

    def _build(self, store: RunStore, recipes: list[Recipe]) -> dict[str, Path]:
        """A file for every recipe; what could not be built is on record as failed."""
        info = self.reference.info
        if self.reference_label not in store.run.files:
            store.append(
                FileRecord(
                    run=store.run.header.id,
                    recipe=self.reference_label,
                    family="Reference",
                    base=self.reference_label,
                    description=info.description or info.name,
                    sha256=self.reference.sha256,
                    n_bytes=info.n_bytes,
                    bits_per_weight=info.bits_per_weight,
                    weights_by_type=info.weights_by_type,
                    types={t.name: t.type for t in info.tensors},
                    replaced={},
                    importance_sha256=None,
                    build_seconds=None,
                    build_memory_bytes=None,
                )
            )
        paths = {self.reference_label: self.reference.path}
        importance = importance_file(self.options, self.reference, self.library, self.threads, self.cpus, self.reporter)
        with self.reporter.steps("Quantizing", len(recipes)) as steps:
            for recipe in recipes:
                steps.name(recipe.name)
                try:
                    built = files.quantized(
                        self.reference,
                        recipe,
                        importance,
                        self.options.cache,
                        self.library,
                        self.threads,
                        self.cpus,
                        steps.share,
                    )
                except MeasurementError as e:
                    store.append(FailureRecord(run=store.run.header.id, recipe=recipe.name, window=None, reason=str(e)))
                    self.reporter.warn(f"{recipe.name} was not built: {e}")
                else:
                    paths[recipe.name] = built.path
                    on_record = store.run.files.get(recipe.name)
                    if on_record is None or on_record.sha256 != built.sha256:
                        store.append(file_record(store.run.header.id, recipe, built))
                steps.done()
        return paths

    def _passes(self, store: RunStore, paths: dict[str, Path]) -> None:
        pending = [(w, name) for w in range(self.windows) for name in paths if w not in store.run.windows[name]]
        failures: dict[str, int] = {}
        with self.reporter.steps("Scoring and timing", len(pending)) as steps:
            for window, name in pending:
                if failures.get(name, 0) >= _FAILURES_TO_GIVE_UP:
                    steps.done()
                    continue
                steps.name(f"pass {window + 1} of {self.windows}, {name}")
                load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
                job = MeasureJob(model=paths[name], stream=self.stream.path, windows=(window,), settings=self.settings)
                try:
                    measured = run_job(job, MeasureResult, cpus=self.cpus)
                    if measured.library != self.library:
                        raise MeasurementError("another build of the engine was installed during the run")
                except BenchError as e:
                    failures[name] = failures.get(name, 0) + 1
                    store.append(FailureRecord(run=store.run.header.id, recipe=name, window=window, reason=str(e)))
                    self.reporter.warn(f"{name}, window {window}: {e}")
                else:
                    store.append(
                        WindowRecord(
                            run=store.run.header.id,
                            recipe=name,
                            sha256=store.run.files[name].sha256,
                            result=measured.windows[0],
                            isa=measured.library.isa,
                            cpu=self.identity.machine.cpu,
                            threads=self.threads,
                            cpus=tuple(self.cpus),
                            load=load,
                        )
                    )
                steps.done()


def importance_file(
    options: Options, reference: Reference, library: LibraryInfo, threads: int, cpus: list[int], reporter: Reporter
) -> Path | None:
    """The importance matrix to quantize with: the user's, one computed from the calibration text, or none."""
    if options.no_imatrix or options.imatrix:
        return options.imatrix
    calibration = files.token_stream(reference, options.calibration or prompts.CALIBRATION, options.cache, library)
    with reporter.steps("Importance matrix", 1) as steps:
        return files.importance(
            reference, calibration, options.calibration_chunks, library, options.cache, threads, cpus, steps.share
        )


#: Formats that llama.cpp refuses to write without importance data.
_NEED_IMPORTANCE = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "Q2_K_S"}


def check_importance(options: Options, recipes: list[Recipe]) -> None:
    """Raise BenchError for options that contradict each other, and recipes that need what was declined."""
    if options.no_imatrix and (options.imatrix or options.calibration):
        raise BenchError("--no-imatrix contradicts --imatrix and --calibration; leave one of them out")
    if options.imatrix and options.calibration:
        raise BenchError("--imatrix is used as it is, so --calibration would do nothing; leave one of them out")
    needing = [r.name for r in recipes if r.base in _NEED_IMPORTANCE]
    if options.no_imatrix and needing:
        raise BenchError(
            f"{needing[0]} needs an importance matrix: pass --imatrix FILE, or leave --no-imatrix out to compute one"
        )


def file_record(run_id: str, recipe: Recipe, built: files.Built) -> FileRecord:
    return FileRecord(
        run=run_id,
        recipe=recipe.name,
        family=recipe.family,
        base=recipe.base,
        description=recipe.description,
        sha256=built.sha256,
        n_bytes=built.n_bytes,
        bits_per_weight=built.bits_per_weight,
        weights_by_type=built.weights_by_type,
        types=built.result.types,
        replaced=built.result.replaced,
        importance_sha256=built.importance_sha256,
        build_seconds=built.result.seconds,
        build_memory_bytes=built.result.peak_memory_bytes,
    )


def model_identity(reference: Reference) -> ModelIdentity:
    info = reference.info
    return ModelIdentity(
        name=info.name,
        sha256=reference.sha256,
        architecture=info.architecture,
        n_layers=info.n_layers,
        n_weights=info.n_weights,
        description=info.description,
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


def check_window(reference: Reference, window: int) -> None:
    if window < 4 or window % 2:
        raise BenchError(f"--window {window}: must be an even number of at least 4 tokens")
    limit = reference.info.context_length
    if limit and window > limit:
        raise BenchError(
            f"--window {window}: {reference.info.name} was trained for a context of {limit} tokens; use --window {min(limit, 2048)}"
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


def default_directory(identity: Identity) -> Path:
    """results/local/MODEL-ID: the same run again finds its directory, another run gets another one."""
    name = "".join(c if c.isalnum() else "-" for c in identity.model.name.lower()).strip("-")
    return Path("results") / "local" / f"{'-'.join(filter(None, name.split('-')))}-{identity.id}"


def versions(library: LibraryInfo) -> dict[str, str]:
    found = {"python": platform.python_version(), "llama-cpp-python": library.binding, "llama.cpp": library.llama_cpp}
    for package in ("dynamicgate-bench", "gguf", "numpy", "datasets", "pandas", "pytest-benchmark"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
