"""Searching for the assignment of types that loses least within a size. In a worker process, which loads the model once.

What single tensors are predicted to lose is scaled for groups of tensors in turn, up and down, and further in a direction that
helped; for every scaling the solver (allocate.py) gives an assignment, and what counts is the divergence that it is
measured to have on the trial windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.choose.allocate import allocate
from bench.choose.jobs import SearchJob, SearchResult, Trial, TypeOption
from bench.choose.probe import ProbedModel
from bench.execute.content import Site
from bench.execute.job import Share
from bench.gguf_files.header import read_header

Options = dict[str, tuple[TypeOption, ...]]


@dataclass(frozen=True)
class _Found:
    """An assignment that was tried, with the predictions that led to it."""

    trial: Trial
    types: dict[str, str]
    options: Options


def search(job: SearchJob, site: Site, progress: Share) -> SearchResult:
    """The best of the predicted assignment, those with scaled predictions, and the others that the job names."""
    stored = {t.name: t.type.name for t in read_header(site.path(job.setting.model)).tensors}
    trials: dict[tuple[tuple[str, str], ...], Trial] = {}
    expected = 1 + job.refinements + len(job.others)
    with ProbedModel(job.setting, site) as model:

        def divergence(types: dict[str, str]) -> float:
            kl = model.divergence({n: t for n, t in types.items() if t != stored[n]})
            progress(min((len(trials) + 1) / expected, 1.0))
            return float(np.mean(kl)) if kl else float(np.finfo(np.float64).max)

        def attempt(name: str, options: Options) -> _Found:
            solved = allocate(options, job.budget)
            kl = divergence(solved.types)
            trial = Trial(prediction=name, predicted=solved.cost, gap=solved.gap, kl=kl)
            trials.setdefault(tuple(solved.types.items()), trial)
            return _Found(trial, solved.types, options)

        best = attempt(job.prediction, job.options)
        for group, tensors in job.groups.items():
            factors = [2.0, 0.5]
            while factors and len(trials) + len(factors) <= job.refinements + 1:
                found = [
                    attempt(f"{best.trial.prediction}, {group} x {f:g}", _scaled(best.options, tensors, f))
                    for f in factors
                ]
                at = min(range(len(found)), key=lambda i: found[i].trial.kl)
                if found[at].trial.kl >= best.trial.kl:
                    break
                best, factors = found[at], [factors[at]]
        for name, types in job.others.items():
            cost = sum(next(o.cost for o in job.options[n] if o.type == t) for n, t in types.items())
            trial = Trial(prediction=f"none, the types of {name}", predicted=cost, gap=0.0, kl=divergence(types))
            trials.setdefault(tuple(types.items()), trial)
            if trial.kl < best.trial.kl:
                best = _Found(trial, types, job.options)
    return SearchResult(types=best.types, best=best.trial, trials=tuple(trials.values()), damaged=model.damaged)


def _scaled(options: Options, tensors: tuple[str, ...], factor: float) -> Options:
    """The options with the predictions for some tensors multiplied."""
    scaled = {n: tuple(o.model_copy(update={"cost": o.cost * factor}) for o in options[n]) for n in tensors}
    return options | scaled
