"""Choosing types within a size: from a recipe that leaves a choice to one that names the type of every tensor.

    sensitivities (measured) x weighted errors (computed)  ->  predicted divergence of every tensor in every type
    ->  search.py: the least sum within the size, and variants  ->  tried on other calibration windows  ->  the best of them

The sum of the losses of single tensors is far from their loss together. So factors for kinds of tensor and for the outer
layers are tried in turn, and in the end the divergence of a whole assignment on windows of the calibration text decides. The
text that recipes are judged by is never used here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from bench.choose.bounds import Allowed, check_classes, kept_together, limits_within
from bench.choose.jobs import Choice, SearchResult, Trial, TypeOption
from bench.choose.prober import PROBE_WINDOW, TRIAL_WINDOW, Elsewhere, Prober
from bench.choose.sensitivity import Sensitivity, measure, probe_types, usable
from bench.choose.space import Space
from bench.core.checked import read_checked, write_checked
from bench.core.errors import BenchError, MeasurementError
from bench.core.files import short_hash
from bench.execute.content import Content
from bench.gguf_files.info import UNQUANTIZED, TensorInfo
from bench.quantize import imatrix_file
from bench.quantize.jobs import PlanJob, PlanResult
from bench.recipes.classes import REST
from bench.recipes.kinds import kind_of
from bench.recipes.recipe import AUTOMATIC, Recipe, Rule, choices, find_recipe, standard_formats
from bench.recipes.sizes import Size, parse_size
from bench.records.record import ChoiceRecord
from bench.workbench.work import Work

#: Part of every key: raise it when this program chooses differently.
_VERSION = 2
#: Assignments that are tried beyond the first ones, for a recipe.
_REFINEMENTS = 16


class Chosen(BaseModel):
    """A choice. types: of the tensors that llama.cpp quantizes; limit: bytes of the file allowed; trials: in order."""

    model_config = ConfigDict(frozen=True)

    types: dict[str, str]
    limit: int
    best: Trial
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True)
class Resolved:
    """A recipe that names the type of every tensor. rules: fingerprint of the recipe as it was asked for; choice: how the
    types were chosen, None for one that left no choice."""

    recipe: Recipe
    rules: str
    choice: ChoiceRecord | None


@dataclass
class Chooser:
    """Chooses for recipes of one model. refinements: how many assignments to try beyond the predicted one; elsewhere: as in Prober."""

    work: Work
    elsewhere: Elsewhere | None = None
    refinements: int = field(default_factory=lambda: _REFINEMENTS)
    _plans: dict[tuple[str, bool], PlanResult] = field(default_factory=dict)

    def resolve(self, recipe: Recipe) -> Resolved:
        """The recipe with every choice made. One that leaves none is as it was.

        Raises MeasurementError for a size that no choice meets.
        """
        if recipe.size is None:
            return Resolved(recipe, recipe.fingerprint, None)
        chosen, size = self.choose(recipe), parse_size(recipe.size)
        best, named = chosen.best, self.named(recipe, chosen)
        record = ChoiceRecord(
            limit=chosen.limit,
            budgets=self.limits(recipe) if size.budgets else {},
            class_bytes=self.space.by_class(self._plan(named), tuple(size.budgets)) if size.budgets else {},
            together=size.together,
            against=_against(recipe),
            text=self.work.calibration.name,
            prediction=best.prediction,
            predicted_kl=best.predicted,
            calibration_kl=best.kl,
            gap=best.gap,
            tried=len(chosen.trials),
            trial_tokens=sum(t.windows for t in chosen.trials) * TRIAL_WINDOW,
            probe_tokens=len(self.quantized()) * len(self.prober.probe_windows) * PROBE_WINDOW,
        )
        return Resolved(named, recipe.fingerprint, record)

    def choose(self, recipe: Recipe) -> Chosen:
        """The choice for a recipe with a size; out of the cache when the same was chosen before."""
        kept = read_checked(self._kept(recipe), Chosen, self.work.reporter.warn)
        if kept is not None:
            return kept
        found = self.prober.search(f"Choosing {recipe.name}", self._choice(recipe))
        return self._keep(recipe, found)

    def choose_elsewhere(self, recipes: Iterable[Recipe]) -> None:
        """Have other machines make the choices that are not made yet, all at once. What they do not make is left to `choose`."""
        if self.elsewhere is None:
            return
        wanted = list(recipes)
        for depend in (False, True):  # on another choice, whose size they have
            self._choose_elsewhere(self.elsewhere, [r for r in wanted if _has_size_of_choice(r) == depend])

    def _choose_elsewhere(self, elsewhere: Elsewhere, recipes: list[Recipe]) -> None:
        asked: dict[str, tuple[Recipe, Choice]] = {}
        for recipe in recipes:
            try:
                if read_checked(self._kept(recipe), Chosen, self.work.reporter.warn) is None:
                    asked[recipe.name] = recipe, self._choice(recipe)
            except BenchError:
                continue  # which `choose` tells
        if not asked:
            return
        with self.work.reporter.steps("Choosing types", len(asked)) as steps:

            def keep(name: str, found: SearchResult) -> None:
                self._keep(asked[name][0], found)
                steps.name(name)
                steps.done()

            elsewhere.search({name: choice for name, (_, choice) in asked.items()}, keep)

    def _kept(self, recipe: Recipe) -> Path:
        """Where a choice is kept."""
        limit = sum(self.limits(recipe).values())
        key = short_hash(_VERSION, recipe.fingerprint, recipe.plain, limit, self.prober.key, self.refinements)
        stem = self.work.reference.path.stem
        return self.work.executor.site.path(Content(name=f"sensitivity/{stem}-{recipe.name}-{key}.choice.json"))

    def _keep(self, recipe: Recipe, found: SearchResult) -> Chosen:
        chosen = Chosen(
            types=found.types, limit=sum(self.limits(recipe).values()), best=found.best, trials=found.trials
        )
        write_checked(self._kept(recipe), chosen)
        return chosen

    def named(self, recipe: Recipe, chosen: Chosen) -> Recipe:
        """The recipe with a rule for every tensor; an automatic one also with the base that its file is named by."""
        base = _mostly(chosen.types, self.space.weights) if recipe.family.startswith(AUTOMATIC) else recipe.base
        rules = tuple(Rule(t, pattern=f"^{re.escape(name)}$") for name, t in chosen.types.items())
        return replace(recipe, base=base, rules=rules, size=None, seed=None)

    def limits(self, recipe: Recipe) -> dict[str, int]:
        """Bytes that the recipe's file may have, by class of tensors; all of them are `rest` for a size of the file.

        Raises MeasurementError for a budget of tensors that the model does not have.
        """
        size = parse_size(recipe.size or "")
        sizes = size.budgets or {REST: size}
        check_classes(recipe, sizes, self.work.reference.info)
        return {name: self._limit(recipe, name, of, tuple(sizes)) for name, of in sizes.items()}

    def _limit(self, recipe: Recipe, name: str, size: Size, classes: tuple[str, ...]) -> int:
        """Bytes that a class may have. classes: those that have budgets."""
        if size.n_bytes is not None:
            return size.n_bytes
        if size.bits is not None:
            head = self.space.head(self._plan(recipe)) if name == REST else 0
            return int(size.bits * self.space.weights_of(name, classes) / 8) + head
        if size.over is not None:
            return int(self.space.by_class(self._plan(find_recipe(recipe.base)), classes)[name] * (1 + size.over))
        other = self.resolve(find_recipe(size.recipe or "")).recipe
        return self.space.by_class(self._plan(other), classes)[name]

    @cached_property
    def space(self) -> Space:
        """What the reference's tensors take in files."""
        return Space.of(self.work.reference.info)

    @cached_property
    def prober(self) -> Prober:
        """What choices are made by."""
        return Prober(self.work, self.elsewhere)

    # --- what a choice is made from ----------------------------------------------------------------------------------

    def _plan(self, recipe: Recipe) -> PlanResult:
        """Types and size of the recipe without its choice."""
        key = recipe.fingerprint, recipe.plain
        if key not in self._plans:
            job = PlanJob(model=self.work.model, recipe=recipe, with_importance=self.work.importance is not None)
            self._plans[key] = self.work.executor.do(job)
        return self._plans[key]

    @cached_property
    def _tensors(self) -> dict[str, TensorInfo]:
        return {t.name: t for t in self.work.reference.info.tensors}

    @cached_property
    def with_importance(self) -> set[str]:
        matrix = self.work.importance
        if matrix is None:
            return set()
        return set(imatrix_file.read(matrix.path).fitted(self.work.reference.info, matrix.path).entries)

    def quantized(self) -> list[TensorInfo]:
        """The tensors that llama.cpp quantizes."""
        plan = self._plan(find_recipe("Q8_0"))
        return [self._tensors[name] for name, t in plan.types.items() if t not in UNQUANTIZED]

    def sensitivity(self, windows: tuple[int, ...] | None = None) -> Sensitivity:
        """windows: that it is measured on, those for choices unless told."""
        probes = probe_types(self.quantized(), self.with_importance)
        return measure(self.prober, probes, self.prober.probe_windows if windows is None else windows)

    # --- choosing ----------------------------------------------------------------------------------------------------

    def _choice(self, recipe: Recipe) -> Choice:
        """What a choice is made from. Raises MeasurementError for a size that no choice meets."""
        plan, info = self._plan(recipe), self.work.reference.info
        allowed = choices(recipe, plan.types, info.n_layers)
        allowed = {n: usable(self._tensors[n], t, n in self.with_importance) for n, t in allowed.items()}
        for name, types in allowed.items():
            if not types:
                raise MeasurementError(
                    f"{recipe.name}: every type for {name} needs importance data, which it lacks; leave --imatrix and --no-imatrix out"
                )
        together: tuple[tuple[str, ...], ...] = ()
        if parse_size(recipe.size or "").together:
            allowed, together = kept_together(recipe, allowed, info)
        limits = limits_within(recipe, plan, self.limits(recipe), allowed, together, self.space)
        sensitivity = self.sensitivity()
        wanted = {n: tuple({*t, sensitivity.probes[n]}) for n, t in allowed.items()}
        errors = self.prober.errors(wanted)
        factors = {n: sensitivity.means[n] / max(errors[n][sensitivity.probes[n]], 1e-12) for n in allowed}
        prediction, others = "measured", self._others(recipe, allowed, together)
        if recipe.seed is not None:
            factors, prediction = _shuffled(factors, self.space.weights, recipe.seed), f"random {recipe.seed}"
        return Choice(
            prediction=prediction,
            options={
                n: tuple(
                    TypeOption(type=t, cost=factors[n] * errors[n][t], n_bytes=self.space.taken(n, t)) for t in types
                )
                for n, types in allowed.items()
            },
            limits=limits,
            together=together,
            groups=self._groups(allowed),
            refinements=self.refinements,
            others=others,
        )

    def _others(
        self, recipe: Recipe, allowed: Allowed, together: tuple[tuple[str, ...], ...]
    ) -> dict[str, dict[str, str]]:
        """The types of the recipe whose size this one has, where they are allowed: a choice is to be no worse."""
        other = parse_size(recipe.size or "").against
        if other is None or recipe.seed is not None:
            return {}
        theirs = {n: t for n, t in self._plan(self.resolve(find_recipe(other)).recipe).types.items() if n in allowed}
        fits = all(t in allowed[n] for n, t in theirs.items())
        return {other: theirs} if fits and all(len({theirs[n] for n in g}) == 1 for g in together) else {}

    def _groups(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Groups of tensors whose factors are tried, those first that have most to gain: what is unlike a layer's matrices
        (its input is no activation, its loss no neighbour's), then the outer layers, then the kinds in between."""
        n_layers = self.work.reference.info.n_layers
        groups: dict[str, list[str]] = {"embeddings": [], "output": [], "first layers": [], "last layers": []}
        for name in names:
            groups.setdefault(kind_of(name), []).append(name)
            for label, layers in (("first layers", (0.0, 0.25)), ("last layers", (0.75, 1.0))):
                if Rule(layers=layers).applies(name, n_layers):
                    groups[label].append(name)
        return {name: tuple(tensors) for name, tensors in groups.items() if tensors}


def _has_size_of_choice(recipe: Recipe) -> bool:
    """Whether its size is that of a recipe that leaves a choice itself."""
    return any(find_recipe(other).size is not None for other in parse_size(recipe.size or "").recipes)


def _against(recipe: Recipe) -> str | None:
    """The recipe that this one is to be held against: that of which it is a random control, or whose size it has."""
    if recipe.seed is not None:
        return recipe.name.rpartition("#")[0]
    return parse_size(recipe.size or "").against


def _shuffled(factors: dict[str, float], sizes: Mapping[str, int], seed: int) -> dict[str, float]:
    """The sensitivities of single weights dealt to the layers' tensors at random, for the control of what knowing them is
    worth. Embeddings and output keep theirs: one of them outweighs everything else that a deal decides."""
    names = [n for n in factors if n.startswith("blk.")]
    dealt = np.random.default_rng(seed).permutation([factors[n] / sizes[n] for n in names])
    return factors | {n: float(f) * sizes[n] for n, f in zip(names, dealt, strict=True)}


def _mostly(types: dict[str, str], sizes: Mapping[str, int]) -> str:
    """llama.cpp's format of the type that most weights have, which a file states of itself."""
    weights: dict[str, int] = {}
    for name, kind in types.items():
        weights[kind] = weights.get(kind, 0) + sizes[name]
    quantized = {k: n for k, n in weights.items() if k not in UNQUANTIZED}
    if not quantized:
        return "Q8_0"  # any format whose mix touches every tensor
    kind = max(quantized, key=lambda k: quantized[k])
    return kind if kind in standard_formats() else f"{kind}_M"
