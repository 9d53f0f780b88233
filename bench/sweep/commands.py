"""The commands that look at one file: quantize, ppl, time, info."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.choose.chooser import chooser
from bench.choose.prober import WINDOW
from bench.choose.sensitivity import measure, types_to_probe
from bench.core.errors import BenchError
from bench.core.machine import Machine, cpus_for, this_machine
from bench.core.progress import Reporter
from bench.execute.jobs import LibraryInfo, MeasureJob, MeasureResult, PlanJob, PlanResult, Settings, WindowResult
from bench.execute.local import run_job
from bench.gguf_files.info import complete_or_absent, file_sha256, inspect
from bench.measures.windows import statistics as stats
from bench.models.reference import Reference, reference
from bench.models.sources import local_model
from bench.recipes.files import packaged_recipes, read_recipe_file
from bench.recipes.recipe import SUITES, find_recipe, find_recipes, standard_formats
from bench.workbench import files
from bench.workbench.options import (
    Options,
    check_importance,
    check_library,
    check_threads,
    check_window,
    check_windows,
    importance_file,
    scored_text,
)

if TYPE_CHECKING:
    from bench.present.sensitivity import SensitivityReport


def quantize_to(options: Options, target: Path, reporter: Reporter) -> list[dict[str, object]]:
    """Build the recipes' files in the cache and copy them: one recipe to the file `target`, several into that directory."""
    recipes, threads = find_recipes(options.recipes), check_threads(options.threads)
    check_importance(options, recipes)
    several = len(recipes) > 1
    if several and target.exists() and not target.is_dir():
        raise BenchError(f"{target}: is a file; give a directory for several recipes")
    if not several and target.is_dir():
        raise BenchError(f"{target}: is a directory; give the name of the file to write")
    for path in [target / f"{r.name}.gguf" for r in recipes] if several else [target]:
        _refuse_to_overwrite(path, options)
    cpus, library = cpus_for(threads), check_library(options.isa)
    source = _source(options, reporter)
    matrix = importance_file(options, source, library, threads, cpus, reporter)
    choosing = chooser(options, source, matrix, library, threads, cpus, reporter)
    resolved = [choosing().resolve(r).recipe if r.size else r for r in recipes]
    done: list[dict[str, object]] = []
    with reporter.steps("Quantizing", len(recipes)) as steps:
        for recipe in resolved:
            steps.name(recipe.name)
            built = files.quantized(source, recipe, matrix, options.cache, library, threads, cpus, steps.share)
            files.tell_damaged(built, reporter)
            path = target / f"{recipe.name}.gguf" if several else target
            with complete_or_absent(path) as partial:
                shutil.copyfile(built.path, partial)
            steps.done()
            done.append(
                {
                    "path": str(path),
                    "recipe": recipe.name,
                    "bytes": built.n_bytes,
                    "bits_per_weight": built.bits_per_weight,
                    "sha256": built.sha256,
                    "weights_by_type": built.weights_by_type,
                    "replaced": built.result.replaced,
                    "seconds": built.result.seconds,
                }
            )
    return done


def show_recipe(options: Options, reporter: Reporter) -> dict[str, object]:
    """What a recipe would make of a model, before anything is built."""
    [name] = options.recipes
    recipe = find_recipe(name)
    check_importance(options, [recipe])
    source = _source(options, reporter)
    if recipe.size is not None:  # what it makes of a model is measured, which takes what a run takes
        threads = check_threads(options.threads)
        cpus, library = cpus_for(threads), check_library(None)
        matrix = importance_file(options, source, library, threads, cpus, reporter)
        recipe = chooser(options, source, matrix, library, threads, cpus, reporter)().resolve(recipe).recipe
    job = PlanJob(model=source.path, recipe=recipe, with_importance=not options.no_imatrix)
    found = run_job(job, PlanResult)
    return {
        "recipe": recipe.name,
        "description": recipe.description,
        "model": source.info.name,
        "bytes": found.n_bytes,
        "bits_per_weight": found.bits_per_weight,
        "types": found.types,
        "replaced": found.replaced,
    }


def measure_sensitivity(options: Options, types: tuple[str, ...], reporter: Reporter) -> SensitivityReport:
    """Measure how sensitive the model's output is to its tensors: in the types that recipes are chosen by, and in others."""
    from bench.present.sensitivity import SensitivityReport  # with pandas, a second to import

    threads = check_threads(options.threads)
    check_importance(options, [])
    cpus, library = cpus_for(threads), check_library(options.isa)
    source = _source(options, reporter)
    matrix = importance_file(options, source, library, threads, cpus, reporter)
    choosing = chooser(options, source, matrix, library, threads, cpus, reporter)()
    tensors, known = choosing.quantized(), choosing.with_importance
    probe = choosing.sensitivity()
    others = {t: types_to_probe(tensors, known, t) for t in types if t != probe.label}
    for name, probes in others.items():
        if not probes:
            raise BenchError(
                f"--types {name}: no tensor of {source.info.name} can be stored in it (width or importance data)"
            )
    measured = [probe, *(measure(choosing.prober, p, reporter) for p in others.values())]
    wanted = {t.name: tuple({s.probes[t.name] for s in measured if t.name in s.probes}) for t in tensors}
    tokens = len(choosing.prober.probe_windows) * WINDOW
    return SensitivityReport(
        source.info, choosing.prober.stream.name, tokens, tuple(measured), choosing.prober.errors(wanted, reporter)
    )


def list_recipes() -> dict[str, object]:
    """Formats, the recipe files that come with the program, and suites."""
    files = {prefix: read_recipe_file(path).description for prefix, path in packaged_recipes().items()}
    return {"formats": list(standard_formats()), "recipes": files, "suites": {n: list(r) for n, r in SUITES.items()}}


def imatrix_to(options: Options, target: Path, reporter: Reporter) -> dict[str, object]:
    """Compute an importance matrix in the cache and copy it to `target`."""
    _refuse_to_overwrite(target, options)
    threads = check_threads(options.threads)
    cpus, library = cpus_for(threads), check_library(options.isa)
    source = _source(options, reporter)
    matrix = importance_file(options, source, library, threads, cpus, reporter)
    assert matrix is not None  # options has neither a matrix nor no_imatrix
    with complete_or_absent(target) as partial:
        shutil.copyfile(matrix, partial)
    return {"path": str(target), "bytes": target.stat().st_size, "sha256": file_sha256(target)}


def _refuse_to_overwrite(target: Path, options: Options) -> None:
    """Raise BenchError when the file to write is one that is read."""
    for source in (options.model and Path(options.model), options.imatrix, options.calibration):
        if source and target.exists() and source.exists() and target.samefile(source):
            raise BenchError(f"{target}: is what is read from; give another file to write")


def _source(options: Options, reporter: Reporter) -> Reference:
    return reference(
        options.model,
        options.cache,
        allow_quantized=options.allow_quantized,
        widen_to_256=options.widen,
        reporter=reporter,
    )


@dataclass(frozen=True)
class Scored:
    """Windows of one file, with what they were measured on."""

    model: Path
    text: str
    settings: Settings
    library: LibraryInfo
    machine: Machine
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


def score(
    named: str,
    *,
    text: Path | None,
    dataset: str | None = None,
    window: int,
    windows: int | None,
    threads: int | None,
    generate: int,
    isa: str | None,
    cache: Path,
    reporter: Reporter,
    timed: bool = True,
    rounds: int | None = None,
) -> Scored:
    """Score and time one file in a worker process.

    timed: with pytest-benchmark. windows: how many of the text's to take, None for all; rounds: instead, that many timed rounds on as many windows as
    there are, from the first again when they run out.
    """
    n_threads = check_threads(threads)
    if isa is not None:
        check_library(isa)  # a process of its own: only where it can refuse
    model = local_model(named, cache, reporter).path
    info = inspect(model)
    check_window(info, window)
    scored = scored_text(text, dataset, window, windows, cache, reporter)
    stream = files.token_stream(info, scored.source, cache)
    n_windows = check_windows(stream, window, windows, default=None)
    chosen = tuple(i % n_windows for i in range(rounds or n_windows))
    settings = Settings(
        window=window, batch=window, ubatch=min(512, window), threads=n_threads, generate=min(generate, window)
    )
    job = MeasureJob(model=info.path, stream=stream.path, windows=chosen, settings=settings, timed=timed)
    with reporter.steps(model.name, len(chosen)) as steps:
        done = run_job(
            job, MeasureResult, cpus=cpus_for(n_threads), progress=lambda share: steps.share(share * len(chosen))
        )
    return Scored(model, scored.name, settings, done.library, this_machine(), done.windows)


def describe_file(named: str, cache: Path, reporter: Reporter) -> dict[str, object]:
    info = inspect(local_model(named, cache, reporter).path)
    described: dict[str, object] = {
        "name": info.name,
        "architecture": info.architecture,
        "layers": info.n_layers,
        "context": info.context_length,
        "vocabulary": info.vocabulary,
        "weights": info.n_weights,
        "bytes": info.n_bytes,
        "bits_per_weight": round(info.bits_per_weight, 4),
        "weights_by_type": info.weights_by_type,
        "license": info.license or "not stated",
    }
    return described | ({"description": info.description} if info.description else {})
