"""Results that commands make without a run: a recipe's file or types, an importance matrix, sensitivities."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.choose.additivity import measure_together
from bench.choose.chooser import Chooser
from bench.choose.prober import PROBE_WINDOW
from bench.choose.sensitivities import Sensitivities
from bench.choose.sensitivity import measure, types_to_probe
from bench.choose.space import Space
from bench.core.errors import BenchError
from bench.core.files import complete_or_absent, file_sha256
from bench.quantize.imatrix import check_prior
from bench.quantize.imatrix_file import read
from bench.quantize.imatrix_statistics import Coverage, coverage
from bench.quantize.jobs import PlanJob
from bench.recipes.classes import classes_worth_telling
from bench.recipes.labels import file_label, is_bound, plain
from bench.recipes.recipe import Recipe
from bench.recipes.sizes import parse_size
from bench.workbench.asked import asked_recipe, asked_recipes
from bench.workbench.checks import check_importance
from bench.workbench.options import Options
from bench.workbench.work import Work


def quantize_to(work: Work, target: Path, *, force: bool) -> list[dict[str, object]]:
    """Build the recipes' files in the cache and copy them: one recipe to the file `target`, several into that directory.

    force: overwrite files that are there. Raises BenchError for one that is there otherwise, before anything is built.
    """
    recipes = asked_recipes(work.options)
    if not recipes:
        raise BenchError("no recipe is named; name one or several, for instance IQ2_XXS,DG-IQ2_XXS")
    _ = work.threads  # refused before anything is read
    check_importance(work.options, recipes)
    several = len(recipes) > 1
    if several and target.exists() and not target.is_dir():
        raise BenchError(f"{target}: is a file; give a directory for several recipes")
    if not several and target.is_dir():
        raise BenchError(f"{target}: is a directory; give the name of the file to write")
    names = {r.name: f"{_label(r)}.gguf" for r in recipes}
    if len(set(names.values())) < len(names):
        names = {r.name: f"{plain(r.name)}.gguf" for r in recipes}
    paths = {name: target / file if several else target for name, file in names.items()}
    for path in paths.values():
        _refuse_to_overwrite(path, work.options, force=force)
    _ = work.library, work.reference, work.importance
    chooser = Chooser(work)
    resolved = [chooser.resolve(r).recipe for r in recipes]
    done: list[dict[str, object]] = []
    with work.reporter.steps("Quantizing", len(recipes)) as steps:
        for recipe in resolved:
            steps.name(recipe.name)
            built = work.quantized(recipe, steps.share)
            path = paths[recipe.name]
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


def show_recipe(work: Work) -> dict[str, object]:
    """What a recipe would make of a model, before anything is built. One that leaves a choice is chosen first.

    bytes_by_class: of the whole file, by the classes that have budgets; without any, of a mixture of experts by these and the rest.
    """
    recipe = asked_recipe(work.options)
    check_importance(work.options, [recipe])
    if work.options.imatrix:
        _ = work.importance  # refused if it is of another model
    resolved = Chooser(work).resolve(recipe)
    recipe, budgets = resolved.recipe, resolved.choice.budgets if resolved.choice else {}
    found = work.executor.do(PlanJob(model=work.model, recipe=recipe, with_importance=not work.options.no_imatrix))
    classes = tuple(budgets) or classes_worth_telling(found.types)
    return {
        "recipe": recipe.name,
        "description": recipe.description,
        "model": work.reference.info.name,
        "bytes": found.n_bytes,
        "bits_per_weight": found.bits_per_weight,
        "bytes_by_class": Space.of(work.reference.info).by_class(found, classes) if classes else {},
        "budgets": budgets,
        "types": found.types,
        "replaced": found.replaced,
    }


def measure_sensitivity(work: Work, types: tuple[str, ...], windows: int | None = None) -> Sensitivities:
    """How sensitive the model's output is to its tensors: in the types that recipes are chosen by, and in others; each alone, and together.

    windows: of the calibration text, None for the usual number.
    """
    _ = work.threads
    check_importance(work.options, [])
    _ = work.library, work.importance
    chooser = Chooser(work)
    tensors, known = chooser.quantized(), chooser.with_importance
    on = chooser.prober.shown_windows(windows)
    probe = chooser.sensitivity(on)
    others = {t: types_to_probe(tensors, known, t) for t in types if t != probe.label}
    for name, probes in others.items():
        if not probes:
            raise BenchError(
                f"--types {name}: no tensor of {work.reference.info.name} can be stored in it (width or importance data)"
            )
    measured = [probe, *(measure(chooser.prober, p, on) for p in others.values())]
    wanted = {t.name: tuple({s.probes[t.name] for s in measured if t.name in s.probes}) for t in tensors}
    return Sensitivities(
        model=work.reference.info,
        text=work.calibration.name,
        tokens=len(on) * PROBE_WINDOW,
        measured=tuple(measured),
        together=tuple(t for s in measured for t in measure_together(chooser.prober, s, on)),
        errors=chooser.prober.errors(wanted),
    )


def imatrix_to(work: Work, target: Path, *, force: bool) -> tuple[dict[str, object], Coverage]:
    """Compute an importance matrix in the cache and copy it to `target`; returns what was written, and how much of the model saw data. force: as in quantize_to."""
    _refuse_to_overwrite(target, work.options, force=force)
    _ = work.threads, work.library
    check_prior(work.options.prior_weight)
    matrix = work.importance
    assert matrix is not None  # options has neither a matrix nor no_imatrix
    with complete_or_absent(target) as partial:
        shutil.copyfile(matrix.path, partial)
    found = coverage(read(target), work.reference.info)
    return {"path": str(target), "bytes": target.stat().st_size, "sha256": file_sha256(target)}, found


def _label(recipe: Recipe) -> str:
    """What its file is called: as the hub would show it, unless that tells too little of what it is bound by."""
    if recipe.size is None:
        return file_label(recipe.name, recipe.base)
    if is_bound(recipe.name):
        return plain(recipe.name)
    return file_label(recipe.name, recipe.base, parse_size(recipe.size).recipe)


def _refuse_to_overwrite(target: Path, options: Options, *, force: bool) -> None:
    """Raise BenchError when the file to write is one that is read, or is there and may not be overwritten."""
    for source in (options.model and Path(options.model), options.imatrix, options.calibration):
        if source and target.exists() and source.exists() and target.samefile(source):
            raise BenchError(f"{target}: is what is read from; give another file to write")
    if target.exists() and not force:
        raise BenchError(f"{target}: is there already; give another name, or overwrite it with --force")
