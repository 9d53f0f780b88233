"""The data that a page computes with: values of the parts of windows of every file, and the constants for their intervals.

A page compares any two files of its run, as bench/statistics does, so that a comparison in the page agrees with the tables.
"""

from __future__ import annotations

from math import isnan

from bench.core.formats import size
from bench.measures.windows.agreement import kl_of_parts
from bench.measures.windows.floor import floors_of
from bench.measures.windows.runs import windows_of
from bench.measures.windows.statistics import layout, nll_of_parts, time_ratio
from bench.present.pages.text import of_tokens
from bench.records.families import mixed_pairs
from bench.records.resolution import resolution
from bench.records.run import Run
from bench.statistics.estimates import LEVEL
from bench.statistics.layout import MIN_FOR_INTERVAL, Layout


def page_data(run: Run) -> dict[str, object]:
    """What the scripts of a page read, ready for JSON.

    files: of every file its name, family and bytes; whether the reference cannot judge it (`untold`), or
    it is made to be beaten (`control`); and, where all its
    windows are on record, for each part of a window the mean NLL (nats a token) and the mean KL divergence (nats; null without), and the number of windows. layout: the parts (_layout). times: of each two files the ratio of their times (_times), null in a run without speeds; least: windows that an interval needs.
    """
    told = resolution(run)
    return {
        "reference": run.reference,
        "untold": told.sentence if told.beyond else "",
        "pair": _first_pair(run),
        "text": of_tokens(run),
        "layout": _layout(run),
        "least": MIN_FOR_INTERVAL,
        "times": _times(run) if run.identity.speeds else None,
        "files": [
            {"name": name, "family": file.family, "bytes": file.n_bytes, "size": size(file.n_bytes)}
            | {"untold": name in told.beyond, "control": "random" in file.family}
            | _windows(run, name)
            for name, file in run.files.items()
        ],
    }


def _layout(run: Run) -> dict[str, object]:
    """The parts of windows that means are taken over: the share of each; the rows of contrasts whose products with the values have the
    squares that add up to the variance of the mean; and Student's t for 1, 2, ... comparisons that share the level, none
    where there are too few windows."""
    from scipy.special import stdtrit

    measured = next((found for name in run.files if (found := windows_of(run).results(name))), None)
    parts = layout(measured) if measured else Layout.of_windows(1)
    contrasts, degrees = parts.contrasts
    levels = [LEVEL / parts.looks / n for n in range(1, len(run.files) + 1)] if degrees else []
    return {
        "shares": [_digits(x) for x in parts.shares],
        "contrasts": [[_digits(x) for x in row] for row in contrasts],
        "quantiles": [_digits(float(stdtrit(degrees, 1 - level / 2))) for level in levels],
    }


def _first_pair(run: Run) -> list[str] | None:
    """The two files that are compared until a reader chooses others; None for a run without such a pair."""
    found = ([p.standard, p.gated] for p in mixed_pairs(run) if p.standard and p.gated)
    return next((pair for pair in found if all(windows_of(run).results(n) for n in pair)), None)


def _times(run: Run) -> list[list[list[float] | None]]:
    """Ratio of the time of a file to that of another with its interval, [value, low, high] or [value], by their places in the list of
    files: row the one, column the other, which comes before it. None where they were not timed together."""
    names = [n for n in run.files if windows_of(run).results(n)]
    places = list(run.files)

    def ratio(before: str, after: str) -> list[float] | None:
        if before not in names or after not in names:
            return None
        e = time_ratio(*windows_of(run).same_sitting(before, after))
        return None if isnan(e.value) else [_digits(x) for x in (e.value, e.low, e.high) if x is not None]

    return [[ratio(before, after) for before in places[:i]] for i, after in enumerate(places)]


def _windows(run: Run, name: str) -> dict[str, object]:
    """Values of a file's windows; none for a file that lacks some."""
    found = windows_of(run).results(name)
    if found is None:
        return {}
    kl = kl_of_parts(found)
    return {
        "nll": [_digits(x) for x in nll_of_parts(found)],
        "kl": None if kl is None else [_digits(x) for x in kl],
        "windows": len(found),
        "floor": {"ppl": _digits(floors_of(run).ppl(name)), "kl": _digits(floors_of(run).kl(name))},
    }


def _digits(value: float) -> float:
    """12 digits: the last ones are not the same with every build of numpy, and published pages are compared by bytes."""
    return float(f"{value:.12g}")
