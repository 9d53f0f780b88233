"""Scoring windows of files beside the reference: the requests of a pass to a worker, and the handling of failures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.checked import tell_damage
from bench.core.errors import BenchError, MeasurementError, RecordsError
from bench.engine.memory import machine_memory
from bench.engine.reference_logits import ReferenceLogits
from bench.engine.steps import longest_step
from bench.execute.content import Content
from bench.execute.job import Share
from bench.measures.plan import File, Plan
from bench.measures.windows.jobs import MeasureJob, PassJob, PassResult, SideResult, WindowResult

#: A pass in which the machine stood still for longer, in seconds, is measured once more.
_STILL = 1.5


@dataclass(frozen=True)
class Scorer:
    """Scores windows of a plan's files, each against the reference's logits for the same window.

    The logits of one window lie on disk at a time, as float32.
    """

    plan: Plan

    @property
    def content(self) -> Content:
        """The reference's logits of the window that is under way."""
        return self.plan.work.scratch("window.logits")

    @property
    def logits(self) -> Path:
        """Where they lie."""
        return self.plan.work.executor.site.path(self.content)

    @property
    def timed(self) -> bool:
        return not self.plan.work.options.no_speed and self.plan.part.what != "scores"

    def score(
        self, files: Mapping[str, File], names: Sequence[str], window: int, share: Share
    ) -> dict[str, SideResult]:
        """A window of files, side by side; once more where it was timed and the machine stood still meanwhile, and where the reference's logits
        were not as they were kept."""
        work, reference = self.plan.work, self.plan.reference
        found = self._measured(files, names, window, share)
        worst = max(found, key=lambda n: found[n].still)
        if self.timed and found[worst].still > _STILL:
            work.reporter.warn(
                f"pass {window + 1}: the machine or the program stood still for {found[worst].still:.0f} seconds while {worst} was timed; "
                "the pass is measured once more"
            )
            found = self._measured(files, names, window, share)
        if damaged := [n for n in names if found[n].is_damage]:
            tell_damage(self.logits, work.reporter.warn)
            again = self._measured(files, [reference, *damaged], window, share)
            found |= {name: again[name] for name in damaged}
        return found

    def _measured(
        self, files: Mapping[str, File], names: Sequence[str], window: int, share: Share
    ) -> dict[str, SideResult]:
        """A window of files. Where a device scores, it is timed apart: speeds are the CPU's."""
        if self.plan.part.what == "times":
            return self._once(files, names, [window], share, timing_only=True)
        if self.plan.work.offload is None:
            return self._once(files, names, [window], share)
        if not self.timed:
            return self._one_by_one(files, names, window, share)
        times = self._once(files, names, [window], lambda done: share(done / 2), timing_only=True)
        scores = self._one_by_one(files, names, window, lambda done: share((1 + done) / 2))
        return {name: _together(scores[name], times[name]) for name in names}

    def _one_by_one(
        self, files: Mapping[str, File], names: Sequence[str], window: int, share: Share
    ) -> dict[str, SideResult]:
        """A window of files on a device, whose memory is asked for one of them."""
        found: dict[str, SideResult] = {}
        for n, name in enumerate(names):
            found |= self._once(files, [name], [window], lambda done, n=n: share((n + done) / len(names)))  # type: ignore[misc]
        return found

    def score_several(
        self,
        files: Mapping[str, File],
        names: Sequence[str],
        windows: Sequence[int],
        share: Share,
        keep: Callable[[str, WindowResult], None],
    ) -> dict[str, str]:
        """Windows of files in one job, nothing of which is timed; the reference leads. keep: is handed each window of a file as soon as all
        files have scored it. Returns why a file lacks windows, by name."""

        def heard(found: PassResult) -> None:
            self._check_library(found)
            for name, side in zip(names, found.files, strict=True):
                for result in side.windows:
                    keep(name, result)

        found = self._once(files, names, windows, share, heard)
        if any(side.is_damage for side in found.values()):
            tell_damage(self.logits, self.plan.work.reporter.warn)
        return {name: side.error for name, side in found.items() if side.error is not None}

    def _check_library(self, done: PassResult) -> None:
        if done.library != self.plan.work.library:
            raise MeasurementError("another build of the engine was installed during the run")

    def _once(
        self,
        files: Mapping[str, File],
        names: Sequence[str],
        windows: Sequence[int],
        share: Share,
        heard: Callable[[PassResult], None] | None = None,
        *,
        timing_only: bool = False,
    ) -> dict[str, SideResult]:
        """timing_only: on the CPU, beside no reference; what a device scores is not timed."""
        plan, work = self.plan, self.plan.work
        timed = self.timed and (timing_only or work.offload is None)
        settings = work.settings.on_cpu if timed else work.settings
        if not timed and (self.timed or plan.part.what == "scores"):
            settings = settings.model_copy(update={"generate": 0})
        there = plan.reference in names or self.logits.exists()
        jobs = [
            MeasureJob(
                model=files[name].content,
                stream=plan.stream.content,
                windows=tuple(windows),
                settings=settings,
                timed=timed,
                write_logits=self.content if name == plan.reference and not timing_only else None,
                # none when the reference failed: the recipe is scored all the same
                reference_logits=self.content
                if name != plan.reference and name not in plan.alone and there and not timing_only
                else None,
            )
            for name in names
        ]
        try:
            job = PassJob(files=tuple(jobs), backwards=bool(windows[0] % 2))
            done = work.executor.do(job, share, heard) if heard else work.executor.do(job, share)
            self._check_library(done)
            found = dict(zip(names, done.files, strict=True))
        except RecordsError:  # of what was heard: nothing can be kept any more
            raise
        except BenchError as e:  # of these files: others may do
            found = {name: SideResult(error=str(e)) for name in names}
        if plan.reference in names and not found[plan.reference].windows and not timing_only:
            # what it wrote before it failed is not the whole window, and nothing is to be compared with it
            self.logits.unlink(missing_ok=True)
        return found

    def reference_again(self, files: Mapping[str, File], window: int) -> None:
        """The reference's logits for a window that is on record, for a run that stopped within the pass."""
        work = self.plan.work
        job = MeasureJob(
            model=files[self.plan.reference].content,
            stream=self.plan.stream.content,
            windows=(window,),
            settings=work.settings.model_copy(update={"generate": 0}),
            timed=self.timed and work.offload is None,
            write_logits=self.content,
        )
        try:
            work.executor.do(job)
        except MeasurementError as e:
            work.reporter.warn(f"window {window} is scored without a comparison with the reference: {e}")

    def check_room(self) -> None:
        """Say how much room the reference's logits take, and refuse to begin where it is not there."""
        work, info = self.plan.work, self.plan.work.reference.info
        directory = self.logits.parent
        needed = ReferenceLogits.n_bytes(work.settings.logits, info.vocabulary)
        free = shutil.disk_usage(directory).free
        if free < needed:
            raise BenchError(
                f"{directory}: the reference's logits for one window need {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB "
                "are free; free some space or choose another directory with --cache"
            )
        memory = machine_memory()
        held = ReferenceLogits.n_bytes(longest_step(work.settings), info.vocabulary)
        if held > memory.available:
            raise BenchError(
                f"the logits of a step take {held / 1e6:,.0f} MB of memory and {memory.available / 1e6:,.0f} MB are available; "
                "end other programs or choose a smaller --window"
            )
        if info.n_bytes + held > memory.total:
            work.reporter.warn(
                f"{info.name} with the logits of a step takes {(info.n_bytes + held) / 1e9:,.1f} GB and "
                f"this machine has {memory.total / 1e9:,.1f}: it is read from the disk again and again, "
                f"{'and its times show that' if self.timed else 'which takes its time'}"
            )
        work.reporter.say(f"The reference's logits for one window at a time: {needed / 1e6:,.0f} MB in {directory}")


def _together(scores: SideResult, times: SideResult) -> SideResult:
    """Scores of a device with times of the CPU; the first error of the two where there is one."""
    if scores.error is not None or times.error is not None:
        return scores if scores.error is not None else times
    windows = tuple(s.timed_by(t) for s, t in zip(scores.windows, times.windows, strict=True))
    return scores.model_copy(update={"windows": windows, "still": times.still})
