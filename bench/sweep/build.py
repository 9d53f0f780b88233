"""The sweep's stages that make files: choices are made, tensors quantized, files that cannot be built are recorded as failed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from bench.choose.chooser import Chooser, Resolved
from bench.choose.prober import Elsewhere
from bench.core.errors import BenchError, MeasurementError
from bench.recipes.recipe import Recipe
from bench.records.record import FailureRecord
from bench.records.store import RunStore
from bench.sweep.identity import file_record
from bench.workbench.work import Work


def resolve_recipes(
    work: Work, recipes: list[Recipe], store: RunStore, elsewhere: Elsewhere | None = None
) -> dict[str, Resolved]:
    """The recipes with their choices made. What cannot be chosen costs its recipe only: others need no choice.

    elsewhere: other machines that measure what choices are made by.
    """
    chooser = Chooser(work, elsewhere)
    chooser.choose_elsewhere(r for r in recipes if r.size is not None)
    resolved = {}
    with work.reporter.steps("Choosing types", sum(r.size is not None for r in recipes)) as steps:
        for recipe in recipes:
            if recipe.size is not None:
                steps.name(recipe.name)
            try:
                resolved[recipe.name] = chooser.resolve(recipe)
            except BenchError as e:
                _failed(recipe.name, e, work, store)
            if recipe.size is not None:
                steps.done()
    return resolved


def build_files(
    work: Work, resolved: dict[str, Resolved], changed: Collection[str], store: RunStore
) -> dict[str, Path]:
    """The recipes' files, by name. changed: recipes on record that have other rules now, and so get a new record."""
    paths = {}
    with work.reporter.steps("Quantizing", len(resolved)) as steps:
        for name, found in resolved.items():
            steps.name(name)
            try:
                built = work.quantized(found.recipe, steps.share)
            except MeasurementError as e:
                _failed(name, e, work, store)
            else:
                paths[name] = built.path
                on_record = store.run.files.get(name)
                if on_record is None or on_record.sha256 != built.sha256 or name in changed:
                    store.append(file_record(store.run.header.id, found, built))
            steps.done()
    return paths


def _failed(recipe: str, error: BenchError, work: Work, store: RunStore) -> None:
    store.append(FailureRecord(run=store.run.header.id, recipe=recipe, window=None, reason=str(error)))
    work.reporter.warn(f"{recipe} was not built: {error}")
