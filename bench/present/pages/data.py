"""The figures that a page computes with: values of every window of every file, and how intervals are drawn from them.

A page compares any two files of its run. It draws the very resamples that bench/statistics/estimates.py draws, so that a
comparison in the page says what the tables say.
"""

from __future__ import annotations

from bench.core.formats import size
from bench.measures.windows.agreement import mean_kl
from bench.measures.windows.runs import windows_of
from bench.measures.windows.statistics import mean_nll
from bench.present.pages.text import of_tokens
from bench.records.families import mixed_pairs
from bench.records.resolution import resolution
from bench.records.run import Run
from bench.statistics.estimates import resampling


def page_data(run: Run) -> dict[str, object]:
    """What the scripts of a page read, ready for JSON.

    files: of every file its name, family and bytes; whether the reference cannot judge it (`untold`), or
    it is made to be beaten (`control`); and, where all its
    windows are on record, for each window the mean NLL (nats a token), the mean KL divergence (nats; null without), the
    seconds, and the number of the sitting that it was measured in.
    """
    told, how = resolution(run), resampling(run.identity.windows)
    sittings = {s: i for i, s in enumerate(dict.fromkeys(_sittings(run)))}
    return {
        "reference": run.reference,
        "untold": told.sentence if told.beyond else "",
        "pair": _first_pair(run),
        "text": of_tokens(run),
        # as text: numbers of 128 bits are beyond a double
        "resampling": {
            "state": str(how.state),
            "increment": str(how.increment),
            "resamples": how.resamples,
            "least": how.least,
            "tails": {n: _digits(tail) for n, tail in how.tails.items()},
        },
        "files": [
            {"name": name, "family": file.family, "bytes": file.n_bytes, "size": size(file.n_bytes)}
            | {"untold": name in told.beyond, "control": "random" in file.family}
            | _windows(run, name, sittings)
            for name, file in run.files.items()
        ],
    }


def _first_pair(run: Run) -> list[str] | None:
    """The two files that are compared until a reader chooses others; None for a run without such a pair."""
    found = ([p.standard, p.gated] for p in mixed_pairs(run) if p.standard and p.gated)
    return next((pair for pair in found if all(windows_of(run).results(n) for n in pair)), None)


def _sittings(run: Run) -> list[str]:
    return [r.sitting for by_window in windows_of(run).by_file.values() for r in by_window.values()]


def _windows(run: Run, name: str, sittings: dict[str, int]) -> dict[str, object]:
    """Values of a file's windows; none for a file that lacks some."""
    found = windows_of(run).results(name)
    if found is None:
        return {}
    kl = mean_kl(found)
    return {
        "nll": [_digits(x) for x in mean_nll(found)],
        "kl": None if kl is None else [_digits(x) for x in kl],
        "seconds": [_digits(w.seconds) for w in found],
        "sittings": [sittings[r.sitting] for r in windows_of(run).by_file[name].values()],
    }


def _digits(value: float) -> float:
    """12 digits: the last ones are not the same with every build of numpy, and published pages are compared by bytes."""
    return float(f"{value:.12g}")
