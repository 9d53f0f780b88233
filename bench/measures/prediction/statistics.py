"""Rank correlations, over the files of a run, of what was measured on text with what was lost in tasks.

A rank correlation (Spearman's) asks whether the file that is further from the reference on text is also the one that loses more. Its interval is a
bootstrap over what is random here (Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7:1, 1979, percentiles): windows of the text and questions of
each task are drawn again, the same for all files, and the files stay. So it says how sure the correlation of these files is, not what that of other files would be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.measures.tasks.records import ItemScore, TaskIdentity
from bench.measures.tasks.runs import judged_of, tasks_of
from bench.measures.tasks.statistics import metrics_of, scores_of, tells_nothing, values_of
from bench.measures.windows.jobs import SAME_TOP, WindowResult, unpack
from bench.measures.windows.runs import windows_of
from bench.records.resolution import resolution
from bench.records.run import Run
from bench.statistics.estimates import LEVEL, Estimate
from bench.statistics.layout import MIN_FOR_INTERVAL

#: Files beside the reference that a correlation is told of.
MIN_FILES = 5
#: Draws of the bootstrap, and what they begin with: the same interval every time.
_DRAWS, _SEED = 2000, 19
#: What a question can lose: the answer, or some of the margin.
ANSWERS, MARGIN = "answers", "margin"


@dataclass(frozen=True)
class Lost:
    """What files lost in the tasks of a run against the reference. names: of the files; by_task: (files, questions) of each task, the reference's minus the file's, means of which
    are averaged over tasks."""

    names: tuple[str, ...]
    by_task: tuple[NDArray[np.float64], ...]

    def of(self, files: NDArray[np.int64]) -> Lost:
        """Of some of the files, by their indices."""
        return Lost(tuple(self.names[i] for i in files), tuple(t[files] for t in self.by_task))

    def means(self, draws: Callable[[int], NDArray[np.float64]] | None = None) -> NDArray[np.float64]:
        """(files,), mean over tasks of the mean over questions. draws: (questions, draws) weights of n questions, for (files, draws); None for all alike."""
        of = [t.mean(axis=1) if draws is None else t @ draws(t.shape[1]) for t in self.by_task]
        return np.asarray(np.mean(of, axis=0))


@dataclass(frozen=True)
class OnText:
    """A figure of files on the text: (files, windows), the larger the further from the reference."""

    title: str
    values: NDArray[np.float64]


def nearer_half(texts: list[OnText]) -> NDArray[np.int64] | None:
    """Indices of the half of the files with the least divergence on the text; None where a half is too few to correlate. Files that range from nearly
    lossless to broken correlate in nearly everything; these may not."""
    divergence = texts[0].values.mean(axis=1)
    half = (len(divergence) + 1) // 2
    return None if half < MIN_FILES else np.sort(np.argsort(divergence, kind="stable")[:half])


def lost(run: Run, what: str) -> Lost | None:
    """What the files of a run lost in its tasks in which the reference has something to lose; None for fewer than MIN_FILES files that have them all and are scored on the text.
    Files that the reference cannot judge are left out."""
    reference, beyond = run.reference or "", resolution(run).beyond
    tasks = [judged_of(run, t.key) for t in tasks_of(run) if _tells(run, t)]
    names = [
        n
        for n in run.files
        if n not in beyond
        and n != run.reference
        and all(n in t for t in tasks)
        and _comparable(windows_of(run).results(n))
    ]
    if len(names) < MIN_FILES or not tasks:
        return None
    found = []
    for judged in tasks:
        base, by_file = judged[reference].items, [judged[n].items for n in names]
        rows = _answers(base, by_file) if what == ANSWERS else _margins(base, by_file)
        if rows is not None and rows.shape[1] >= MIN_FOR_INTERVAL:
            found.append(rows)
    return Lost(tuple(names), tuple(found)) if found else None


def _tells(run: Run, task: TaskIdentity) -> bool:
    """Whether the reference has something to lose in a task."""
    own = scores_of(run, task).get(run.reference or "")
    return own is not None and not tells_nothing(own, task.chance)


def _comparable(results: list[WindowResult] | None) -> bool:
    return results is not None and all(r.tokens is not None and r.tokens.kl is not None for r in results)


Items = tuple[ItemScore, ...]


def _answers(reference: Items, by_file: list[Items]) -> NDArray[np.float64] | None:
    usable = [n for n, i in enumerate(reference) if i.failure is None and all(f[n].failure is None for f in by_file)]
    if not usable:
        return None
    metric = metrics_of(reference)[0]
    base, own = values_of(reference, metric), np.array([values_of(f, metric) for f in by_file])
    return np.asarray((base - own)[:, usable])


def _margins(reference: Items, by_file: list[Items]) -> NDArray[np.float64] | None:
    all_margins = np.array([[np.nan if i.margin is None else i.margin for i in f] for f in (reference, *by_file)])
    usable = ~np.isnan(all_margins).any(axis=0)
    return np.asarray((all_margins[0] - all_margins[1:])[:, usable]) if usable.any() else None


def on_text(run: Run, names: tuple[str, ...]) -> list[OnText]:
    """Figures of these files on the text."""
    windows = windows_of(run)
    base = windows.results(run.reference)
    found: dict[str, list[list[float]]] = {}
    for name in names:
        results = windows.results(name) or []
        rows: dict[str, list[float]] = {}
        for n, r in enumerate(results):
            assert r.tokens is not None and r.tokens.kl is not None
            rows.setdefault("KL divergence", []).append(float(unpack(r.tokens.kl, np.float32).mean()))
            if base is not None:
                rows.setdefault("Perplexity", []).append(_nll(r) - _nll(base[n]))
            same = (unpack(r.tokens.flags, np.uint8) & SAME_TOP) > 0
            rows.setdefault("Other top token", []).append(1 - float(same.mean()))
        for title, values in rows.items():
            found.setdefault(title, []).append(values)
    return [OnText(title, np.array(values)) for title, values in found.items()]


def _nll(result: WindowResult) -> float:
    return sum(s.nll for s in result.by_kind.values()) / sum(s.tokens for s in result.by_kind.values())


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank correlation along the first axis, -1 to 1, equal values with their mean rank; NaN where one has no ranks."""
    from scipy.stats import rankdata

    x, y = (rankdata(v, axis=0) for v in (a, b))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    scale = np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0))
    with np.errstate(invalid="ignore"):
        return np.asarray((x * y).sum(axis=0) / scale)


def correlation(text: OnText, losses: Lost) -> Estimate:
    """Of a figure on the text with what was lost. Without an interval for too few windows, or where draws leave nothing to rank."""
    value = float(spearman(text.values.mean(axis=1), losses.means()))
    n_windows = text.values.shape[1]
    if n_windows < MIN_FOR_INTERVAL or np.isnan(value):
        return Estimate(value)
    rng = np.random.default_rng(_SEED)

    def again(n: int) -> NDArray[np.float64]:
        """(n, draws): how often each of n was drawn, as a share."""
        return rng.multinomial(n, np.full(n, 1 / n), _DRAWS).T / n

    drawn = spearman(text.values @ again(n_windows), losses.means(again))
    low, high = np.nanquantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
    return Estimate(value, float(low), float(high))
