"""The sweep's stage that makes files: choices are made, tensors quantized, what cannot be built is put on record as failed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench.choose.chooser import Resolved, chooser
from bench.core.errors import BenchError, MeasurementError
from bench.core.progress import Reporter
from bench.execute.jobs import LibraryInfo
from bench.models.reference import Reference
from bench.recipes.recipe import Recipe
from bench.records.run import FailureRecord, RunStore
from bench.sweep.identity import file_record
from bench.workbench import files
from bench.workbench.options import Options


@dataclass(frozen=True)
class BuildStage:
    """What files are made with. importance: the matrix file, or None to quantize without."""

    options: Options
    reference: Reference
    importance: Path | None
    library: LibraryInfo
    threads: int
    cpus: tuple[int, ...]


def build_recipes(
    stage: BuildStage, recipes: list[Recipe], changed: Collection[str], store: RunStore, reporter: Reporter
) -> dict[str, Path]:
    """The recipes' files, by name. changed: recipes on record that have other rules now, and so get a new record."""
    resolved = _resolve(stage, recipes, store, reporter)
    paths = {}
    with reporter.steps("Quantizing", len(resolved)) as steps:
        for name, found in resolved.items():
            steps.name(name)
            try:
                built = files.quantized(
                    stage.reference,
                    found.recipe,
                    stage.importance,
                    stage.options.cache,
                    stage.library,
                    stage.threads,
                    list(stage.cpus),
                    steps.share,
                )
            except MeasurementError as e:
                _failed(name, e, store, reporter)
            else:
                files.tell_damaged(built, reporter)
                paths[name] = built.path
                on_record = store.run.files.get(name)
                if on_record is None or on_record.sha256 != built.sha256 or name in changed:
                    store.append(file_record(store.run.header.id, found, built))
            steps.done()
    return paths


def _resolve(stage: BuildStage, recipes: list[Recipe], store: RunStore, reporter: Reporter) -> dict[str, Resolved]:
    """The recipes with their choices made. What cannot be chosen costs its recipe only: others need no choice."""
    choosing = chooser(
        stage.options, stage.reference, stage.importance, stage.library, stage.threads, list(stage.cpus), reporter
    )
    resolved = {}
    for recipe in recipes:
        try:
            resolved[recipe.name] = (
                choosing().resolve(recipe) if recipe.size else Resolved(recipe, recipe.fingerprint, None)
            )
        except BenchError as e:
            _failed(recipe.name, e, store, reporter)
    return resolved


def _failed(recipe: str, error: BenchError, store: RunStore, reporter: Reporter) -> None:
    store.append(FailureRecord(run=store.run.header.id, recipe=recipe, window=None, reason=str(error)))
    reporter.warn(f"{recipe} was not built: {error}")
