"""Several files on the same windows, outside a run: the comparison of `ppl`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.core.errors import BenchError
from bench.core.files import told_apart
from bench.core.formats import MISSING, divergence_text, percent, share, size
from bench.core.machine import this_machine
from bench.engine.reference_logits import ReferenceLogits
from bench.engine.settings import LibraryInfo
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import Agreement, agreement
from bench.measures.windows.jobs import MeasureJob, WindowResult
from bench.measures.windows.single import Opened, Scored, opened
from bench.statistics.estimates import Estimate
from bench.statistics.verdicts import verdicts, with_interval
from bench.workbench.work import Work

if TYPE_CHECKING:
    import pandas as pd


def score_together(work: Work, names: Sequence[str]) -> list[Scored]:
    """Score files window by window, each against the logits of the first for the same window.

    Logits of one window lie on disk at a time. A file with other tokens than the first, or with a vocabulary of another size,
    is scored by itself. Raises BenchError as `opened` does, and when the disk has no room for a window's logits.
    """
    if work.options.isa is not None:
        _ = work.library
    with work.scratch_files():
        return _score_together(work, [opened(work, name) for name in names])


def _score_together(work: Work, files: Sequence[Opened]) -> list[Scored]:
    base, logits = files[0], work.scratch("window.logits")
    results: list[list[WindowResult]] = [[] for _ in files]
    library: LibraryInfo | None = None
    with work.reporter.steps("Scoring", sum(f.windows for f in files)) as steps:
        _check_room(work, base)
        for window in range(max(f.windows for f in files)):
            for file, found in zip(files, results, strict=True):
                if window >= file.windows:
                    continue
                steps.name(f"window {window + 1} of {file.windows}, {file.path.name}")
                job = MeasureJob(
                    model=file.model,
                    stream=file.stream,
                    windows=(window,),
                    settings=work.settings,
                    timed=False,
                    write_logits=logits if file is base else None,
                    reference_logits=logits if file is not base and _compares(file, base) else None,
                )
                done = work.executor.do(job)
                found += done.windows
                library = done.library
                steps.done()
    assert library is not None  # every file has a window
    return [
        Scored(f.path, f.text, work.settings, library, this_machine(), f.tokens, tuple(found))
        for f, found in zip(files, results, strict=True)
    ]


def _compares(file: Opened, base: Opened) -> bool:
    """Whether the probabilities of two files compare, token by token."""
    return file.tokens == base.tokens and file.info.vocabulary == base.info.vocabulary


def _check_room(work: Work, base: Opened) -> None:
    directory = work.executor.site.path(work.scratch("any")).parent
    needed = ReferenceLogits.n_bytes(work.settings.logits, base.info.vocabulary)
    if needed > (free := shutil.disk_usage(directory).free):
        raise BenchError(
            f"{directory}: the logits of {base.path.name} for one window need {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are "
            "free; free some space or choose another directory with --cache"
        )


def compared_json(scored: Sequence[Scored]) -> list[dict[str, object]]:
    """The files, each with how it differs from the first, for programs. Names of columns are those of `export --table files`."""
    base = scored[0]
    rows = []
    for s in scored:
        change, apart = _against(base, s)
        figures: dict[str, object] = {
            "against": str(base.model),
            "change": _figure(change),
            "kl": None,
            "same_top": None,
        }
        if apart is not None:
            figures |= {
                "kl": _figure(apart.kl),
                "kl_99.9": apart.kl_percentiles[99.9],
                "same_top": _figure(apart.same_top),
                "right_to_wrong": apart.right_to_wrong,
                "wrong_to_right": apart.wrong_to_right,
            }
        rows.append(s.perplexity_json() | figures)
    return rows


def _figure(found: Estimate | None) -> dict[str, float | None] | None:
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high}


def _against(base: Scored, s: Scored) -> tuple[Estimate | None, Agreement | None]:
    """How a file's perplexity differs from the first one's, and how far its predictions are from them."""
    if s is base:
        return None, None
    return s.change(base), agreement(base.windows, s.windows)


def compared_table(scored: Sequence[Scored]) -> pd.DataFrame:
    """The files, each held against the first, as text."""
    import pandas as pd

    base, rows = scored[0], []
    against = [_against(base, s) for s in scored]
    # what is equal to the last digit is no comparison
    words = verdicts(
        [None if _is_same(base, s) else c for s, (c, _) in zip(scored, against, strict=True)], "better", "worse"
    )
    for i, (name, s) in enumerate(zip(told_apart([s.model for s in scored]), scored, strict=True)):
        p, (change, apart) = stats.perplexity(s.windows), against[i]
        rows.append(
            {
                "File": name,
                "Size": size(s.model.stat().st_size),
                "PPL": f"{p.ppl.value:.4f} ± {p.se:.4f}",
                "Δ PPL [95 %]": MISSING if change is None else with_interval(change, percent),
                "Verdict": _verdict(base, s, change, words[i]),
                "KL [95 %]": MISSING if apart is None else with_interval(apart.kl, divergence_text),
                "Same top [95 %]": MISSING if apart is None else with_interval(apart.same_top, share),
            }
        )
    return pd.DataFrame(rows)


def _is_same(base: Scored, s: Scored) -> bool:
    return stats.same_scores(base.windows, s.windows)


def _verdict(base: Scored, s: Scored, change: Estimate | None, word: str) -> str:
    if s is base:
        return MISSING
    if change is None:
        return "other tokens, not comparable"
    return stats.SAME_SCORES if _is_same(base, s) else word


def compared_key(scored: Sequence[Scored]) -> str:
    """What the columns of that table mean."""
    base, name = scored[0], told_apart([s.model for s in scored])[0]
    p = stats.perplexity(base.windows)
    return (
        f"PPL: perplexity of {base.text}, {p.tokens:,} tokens in {p.windows} windows of {base.settings.window}{base.settings.scored_text}, ± its token-level "
        f"standard error\nΔ PPL: change from {name}, paired by window\n"
        f"KL: mean divergence from the predictions of {name}, in nats; Same top: share of tokens where both find the same "
        "token most likely"
    )
