"""The same windows of several files, side by side: each file has a process of its own with its model loaded, and they decode in turn.

All files decode the same step before any goes on to the next, and where they are timed they give way to each other within a step, every
few hundredths of a second. So a disturbance of the machine affects all of them alike. Between turns a process sleeps.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import cast

from bench.core.errors import BenchError, MeasurementError
from bench.engine.llama import library
from bench.engine.reference_logits import DamagedLogitsError
from bench.execute.content import Site
from bench.execute.job import Telling
from bench.execute.siblings import FORKS, Alone, Sibling, Turns, go_round
from bench.measures.windows.jobs import MeasureJob, PassJob, PassResult, SideResult, WindowResult
from bench.measures.windows.score import measure
from bench.measures.windows.subjects import turns_of

#: Windows of a file, and the longest time for which the machine stood still (score.py).
_Measured = tuple[list[WindowResult], float]


def pass_job(job: PassJob, site: Site, progress: Telling) -> PassResult:
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


def _body(file: MeasureJob, site: Site) -> Callable[[Turns], _Measured]:
    return lambda turns: measure(file, site, lambda share: None, turns)


def _take_turns(job: PassJob, files: list[Sibling], progress: Telling) -> None:
    turns, told = list(turns_of(job.files[0])), 0
    leads = job.files[0].write_logits is not None
    for i, kind in enumerate(turns):
        # logits are read after they were written; otherwise turns go round in either direction
        order = files[::-1] if job.backwards and kind != "score" else files
        go_round(order, is_led=lambda: not leads or files[0].error is None)
        told = _tell(files, told, progress)
        progress((i + 1) / len(turns))
        if leads and files[0].error is not None and len(job.files[0].windows) > 1:
            for sibling in files[1:]:
                sibling.error = sibling.error or MeasurementError("the reference failed, which it is compared with")
            return
    for sibling in files:
        sibling.finish()
    _tell(files, told, progress)


def _tell(files: list[Sibling], told: int, progress: Telling) -> int:
    """Tell the windows that all have scored which are still there. told: how many were before; returns how many are now."""
    whole = min((len(s.told) for s in files if s.error is None), default=told)
    for i in range(told, whole):
        sides = (SideResult(windows=tuple(s.told[i : i + 1])) for s in files)
        progress.part(PassResult(library=library(), files=tuple(sides)))
    return max(told, whole)


def _told(sibling: Sibling) -> SideResult:
    return _side(cast(_Measured, sibling.answer) if sibling.error is None else sibling.error)


def _alone(file: MeasureJob, site: Site, progress: Telling) -> SideResult:
    def told(window: WindowResult) -> None:
        progress.part(PassResult(library=library(), files=(SideResult(windows=(window,)),)))

    try:
        return _side(measure(file, site, progress, Alone(told)))
    except BenchError as e:
        return _side(e)


def _side(came: _Measured | BenchError) -> SideResult:
    if isinstance(came, BenchError):
        return SideResult(error=str(came), is_damage=isinstance(came, DamagedLogitsError))
    windows, still = came
    return SideResult(windows=tuple(windows), still=still)
