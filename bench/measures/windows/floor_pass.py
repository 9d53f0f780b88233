"""Measuring the floor of a run: its first window once more, computed in other ways that should give the same result.

It is computed for the reference and for the file of fewest bits, since the effect of rounding grows with the loss of a file: once with
half the threads and a quarter of the batch, and once with the other kernel for attention. Where a device scores, once more on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

from bench.core.errors import MeasurementError
from bench.execute.content import Content
from bench.execute.job import Share
from bench.measures.plan import File, Plan
from bench.measures.windows.jobs import MeasureJob
from bench.measures.windows.records import FloorRecord, Way
from bench.measures.windows.runs import windows_of
from bench.records.run import Run
from bench.records.store import RunStore

#: The window that the floor is measured on.
FLOOR_WINDOW = 0


@dataclass(frozen=True)
class FloorPass:
    """logits: of the reference, for the window; again: makes them once more where they were damaged."""

    plan: Plan
    logits: Content
    again: Callable[[], None]

    def measure(self, store: RunStore, files: Mapping[str, File]) -> None:
        """Put all that the run lacks on record."""
        wanted = lacking(self.plan, store.run)
        with self.plan.work.reporter.steps("Measurement floor", len(wanted)) as steps:
            for name, way in wanted:
                steps.name(f"{name}, {_IN_WORDS[way]}")
                self._measure(store, name, files[name], steps.share, way)
                steps.done()

    def _measure(self, store: RunStore, name: str, file: File, share: Share, way: Way) -> None:
        work, settings = self.plan.work, self.plan.work.settings
        if way == "cpu":
            settings = settings.on_cpu
        elif way == "batches":
            threads, ubatch = max(settings.threads // 2, 1), max(settings.ubatch // 4, 1)
            settings = settings.model_copy(update={"threads": threads, "ubatch": ubatch})
        job = MeasureJob(
            model=file.content,
            stream=self.plan.stream.content,
            windows=(FLOOR_WINDOW,),
            settings=settings.model_copy(update={"generate": 0}),
            timed=False,
            flash=way != "attention",
            reference_logits=self.logits,
        )
        try:
            [result] = work.do_compared(job, self.logits, self.again, share).windows
        except MeasurementError as e:
            work.reporter.warn(f"the measurement floor of {name} was not measured: {e}")
            return
        record = FloorRecord(
            run=store.run.header.id,
            recipe=None if name == self.plan.reference else name,
            sha256=None if name == self.plan.reference else store.run.files[name].sha256,
            threads=settings.threads,
            ubatch=settings.ubatch,
            flash=way != "attention",
            on_cpu=way == "cpu",
            result=result.untimed() if work.options.no_speed else result,
        )
        store.append(record)


_IN_WORDS = {"batches": "fewer threads and tokens at once", "attention": "without flash attention", "cpu": "on the CPU"}


def lacking(plan: Plan, run: Run) -> list[tuple[str, Way]]:
    """What of the floor is not on record: the file, and the way."""
    known = windows_of(run)
    compared = [
        n
        for n, windows in known.by_file.items()
        if n != plan.reference and n not in plan.alone and FLOOR_WINDOW in windows and n in plan.names
    ]
    fewest = sorted(compared, key=lambda n: run.files[n].bits_per_weight)[:1]
    ways: tuple[Way, ...] = ("batches", "attention") if run.identity.settings.offload is None else get_args(Way)
    return [(n, way) for n in (plan.reference, *fewest) for way in ways if (n, way) not in known.floors]
