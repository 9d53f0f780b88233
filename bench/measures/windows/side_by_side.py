"""One window of several files, side by side: each file has a process of its own with its model loaded, and they decode in turn.

All files decode the same step before any goes on to the next, and within a step they give way to each other every few hundredths of
a second. So what the machine does meanwhile happens to all of them alike. Between turns a process sleeps.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import cast

from bench.core.errors import BenchError
from bench.engine.llama import library
from bench.execute.content import Site
from bench.execute.job import Share
from bench.execute.siblings import FORKS, Alone, Sibling, Turns, go_round
from bench.measures.windows.jobs import MeasureJob, PassJob, PassResult, SideResult, WindowResult
from bench.measures.windows.score import measure
from bench.measures.windows.subjects import turns_of


def pass_job(job: PassJob, site: Site, progress: Share) -> PassResult:
    """Measure all files of a pass. What goes wrong with one costs that one; without its leader's logits the others are scored
    without a comparison."""
    if len(job.files) == 1 or not FORKS:
        return PassResult(library=library(), files=tuple(_alone(file, site, progress) for file in job.files))
    with ExitStack() as stack:
        files = [Sibling(_body(file, site), str(site.path(file.model))) for file in job.files]
        for sibling in files:
            stack.callback(sibling.stop)
        _take_turns(job, files, progress)
        return PassResult(library=library(), files=tuple(_told(sibling) for sibling in files))


def _body(file: MeasureJob, site: Site) -> Callable[[Turns], tuple[WindowResult, float]]:
    def body(turns: Turns) -> tuple[WindowResult, float]:
        [found], still = measure(file, site, lambda share: None, turns)
        return found, still

    return body


def _take_turns(job: PassJob, files: list[Sibling], progress: Share) -> None:
    turns = list(turns_of(job.files[0]))
    leads = job.files[0].write_logits is not None
    for i, kind in enumerate(turns):
        # logits are read after they were written; otherwise turns go round in either direction
        order = files[::-1] if job.backwards and kind != "score" else files
        go_round(order, is_led=lambda: not leads or files[0].error is None)
        progress((i + 1) / len(turns))
    for sibling in files:
        sibling.finish()


def _told(sibling: Sibling) -> SideResult:
    if sibling.error is not None:
        return SideResult(error=str(sibling.error))
    result, still = cast(tuple[WindowResult, float], sibling.answer)
    return SideResult(result=result, still=still)


def _alone(file: MeasureJob, site: Site, progress: Share) -> SideResult:
    try:
        [result], still = measure(file, site, progress, Alone())
    except BenchError as e:
        return SideResult(error=str(e))
    return SideResult(result=result, still=still)
