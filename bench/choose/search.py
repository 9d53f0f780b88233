"""Searching for the assignment of types with the least loss within a size. It runs in a worker process, which loads the model once.

The predicted losses of single tensors are scaled for groups of tensors in turn, up and down, and further in a direction that
helped. For every scaling the solver (allocate.py) gives an assignment, and its measured divergence on the trial windows decides.
Many assignments are tried on few windows, and the best of them on as many again: the best of many on few windows owes some of its
success to luck (successive halving: Jamieson and Talwalkar, Non-stochastic best arm identification, 2016).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bench.choose.allocate import allocate
from bench.choose.jobs import Allocation, Options, SearchJob, SearchResult, Trial
from bench.choose.probe import ProbedModel
from bench.execute.content import Site
from bench.execute.job import Share
from bench.gguf_files.header import read_header


@dataclass(frozen=True)
class _Found:
    """An assignment that was tried, with the predictions that led to it."""

    trial: Trial
    types: dict[str, str]
    options: Options


def search(job: SearchJob, site: Site, progress: Share) -> SearchResult:
    """The best of the predicted assignment, those with scaled predictions, and the others that the job names."""
    stored = {t.name: t.type.name for t in read_header(site.path(job.setting.model)).tensors}
    tried: dict[tuple[tuple[str, str], ...], _Found] = {}
    first = job.setting.windows[: job.first]
    expected = 1 + job.refinements + job.finalists + 2 * len(job.others)
    with ProbedModel(job.setting, site) as model:

        def attempt(name: str, options: Options, allocation: Allocation) -> _Found:
            kl = model.divergence(_changed(allocation.types, stored), first)
            trial = Trial(
                prediction=name, predicted=allocation.cost, gap=allocation.gap, kl=_mean(kl), windows=len(first)
            )
            found = _Found(trial, allocation.types, options)
            tried.setdefault(tuple(allocation.types.items()), found)
            progress(min(len(tried) / expected, 1.0))
            return found

        def attempt_best(name: str, options: Options) -> _Found:
            return attempt(name, options, allocate(options, job.limits, job.together))

        best = attempt_best(job.prediction, job.options)
        for group, tensors in job.groups.items():
            factors = [2.0, 0.5]
            while factors and len(tried) + len(factors) <= job.refinements + 1:
                found = []
                for f in factors:
                    options = _scaled(best.options, tensors, f)
                    name = f"{best.trial.prediction}, {group} x {f:g}"
                    found.append(attempt_best(name, options))
                at = min(range(len(found)), key=lambda i: found[i].trial.kl)
                if found[at].trial.kl >= best.trial.kl:
                    break
                best, factors = found[at], [factors[at]]
        finalists = sorted(tried.values(), key=lambda found: found.trial.kl)[: job.finalists]
        for name, types in job.others.items():
            cost = sum(next(o.cost for o in job.options[n] if o.type == t) for n, t in types.items())
            theirs = Allocation(types=types, cost=cost, n_bytes=0, gap=0.0)
            finalists.append(attempt(f"none, the types of {name}", job.options, theirs))
        if len(first) < len(job.setting.windows):
            for i, found_first in enumerate(finalists):
                finalists[i] = _on_all(found_first, model, stored, job.setting.windows, first)
                tried[tuple(found_first.types.items())] = finalists[i]
                progress(min((len(tried) + i + 1) / expected, 1.0))
        best = min(finalists, key=lambda found: found.trial.kl)
    trials = tuple(found.trial for found in tried.values())
    return SearchResult(types=best.types, best=best.trial, trials=trials, damaged=model.damaged)


def _on_all(
    found: _Found, model: ProbedModel, stored: dict[str, str], windows: tuple[int, ...], first: tuple[int, ...]
) -> _Found:
    """An assignment that was tried on the first windows, tried on the others too."""
    changed = _changed(found.types, stored)
    both = model.divergence(changed, first), model.divergence(changed, windows[len(first) :])
    kl = (*both[0], *both[1]) if all(both) else ()
    return replace(found, trial=found.trial.model_copy(update={"kl": _mean(kl), "windows": len(windows)}))


def _changed(types: dict[str, str], stored: dict[str, str]) -> dict[str, str]:
    """The types that are not the model's own."""
    return {n: t for n, t in types.items() if t != stored[n]}


def _mean(kl: tuple[float, ...]) -> float:
    """Over windows; the largest number there is where logits were not finite."""
    return float(np.mean(kl)) if kl else float(np.finfo(np.float64).max)


def _scaled(options: Options, tensors: tuple[str, ...], factor: float) -> Options:
    """The options with the predictions for some tensors multiplied."""
    scaled = {n: tuple(o.model_copy(update={"cost": o.cost * factor}) for o in options[n]) for n in tensors}
    return options | scaled
