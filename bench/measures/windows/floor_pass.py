"""Measuring the floor of a run: its first window once more, computed in other ways that should give the same result.

It is computed for the reference and for the file of fewest bits, since the effect of rounding grows with the loss of a file: once with
half the threads and a quarter of the batch, and once with the other kernel for attention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.core.errors import MeasurementError
from bench.execute.content import Content
from bench.execute.job import Share
from bench.measures.plan import File, Plan
from bench.measures.windows.jobs import MeasureJob
from bench.measures.windows.records import FloorRecord
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
            for name, flash in wanted:
                steps.name(f"{name}, {'fewer threads and tokens at once' if flash else 'without flash attention'}")
                self._measure(store, name, files[name], steps.share, flash=flash)
                steps.done()

    def _measure(self, store: RunStore, name: str, file: File, share: Share, *, flash: bool) -> None:
        work, settings = self.plan.work, self.plan.work.settings
        if flash:  # the kernel of the run
            threads, ubatch = max(settings.threads // 2, 1), max(settings.ubatch // 4, 1)
            settings = settings.model_copy(update={"threads": threads, "ubatch": ubatch})
        job = MeasureJob(
            model=file.content,
            stream=self.plan.stream.content,
            windows=(FLOOR_WINDOW,),
            settings=settings.model_copy(update={"generate": 0}),
            timed=False,
            flash=flash,
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
            flash=flash,
            result=result.untimed() if work.options.no_speed else result,
        )
        store.append(record)


def lacking(plan: Plan, run: Run) -> list[tuple[str, bool]]:
    """What of the floor is not on record: the file, and whether flash attention is allowed."""
    known = windows_of(run)
    compared = [
        n
        for n, windows in known.by_file.items()
        if n != plan.reference and n not in plan.alone and FLOOR_WINDOW in windows and n in plan.names
    ]
    fewest = sorted(compared, key=lambda n: run.files[n].bits_per_weight)[:1]
    return [(n, flash) for n in (plan.reference, *fewest) for flash in (True, False) if (n, flash) not in known.floors]
