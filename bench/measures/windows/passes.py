"""The sweep's stage that scores and times: passes over all files, one window of the text each.

A pass visits every file once, each in a fresh process, with one window of the text: it is scored and timed in the same
decode. So the files' timings are interleaved as closely as can be, and every ratio is formed within a pass.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.core.errors import BenchError, MeasurementError
from bench.engine.memory import machine_memory
from bench.engine.reference_logits import ReferenceLogits
from bench.execute.content import Content
from bench.measures.plan import File, Plan
from bench.measures.windows.excerpt import excerpt, wants_excerpt
from bench.measures.windows.jobs import MeasureJob
from bench.measures.windows.narrow import look, seen
from bench.measures.windows.records import FloorRecord, WindowRecord
from bench.measures.windows.runs import windows_of
from bench.records.record import FailureRecord
from bench.records.run import Run
from bench.records.store import RunStore

#: A recipe whose measurements fail this often in one sitting is given up until the next.
_FAILURES_TO_GIVE_UP = 2


@dataclass(frozen=True)
class Passes:
    """Windows of all files of a plan, scored and timed."""

    plan: Plan
    title: str = "Scoring and timing"

    @property
    def _logits(self) -> Content:
        """The reference's logits of the window that is under way."""
        return self.plan.work.scratch("window.logits")

    def pending(self, run: Run) -> set[str]:
        """Files of which a window is not on record in full; all of them where it is not known whether more windows are needed; the
        reference, where what every run has of it beside its windows is not."""
        found = {name for names in self._pending(run, self.plan.names).values() for name in names}
        if not found and self._is_undecided(run):
            return set(self.plan.names)
        lacks = windows_of(run).floor is None or wants_excerpt(run)
        return found | ({self.plan.reference} if lacks else set())

    def _is_undecided(self, run: Run) -> bool:
        """Whether the run stopped between its windows and the look at them."""
        return run.identity.until is not None and run.windows not in run.looks

    def progress(self, run: Run) -> tuple[int, int]:
        total = len(self.plan.names) * run.windows
        return total - sum(map(len, self._pending(run, self.plan.names).values())), total

    def _pending(self, run: Run, names: Iterable[str]) -> dict[int, list[str]]:
        """Files that are still to be measured, by window, in the order of the pass."""
        wanted = list(names)
        return {w: self._order(w, [n for n in wanted if not self._has(run, n, w)]) for w in range(run.windows)}

    def measure(self, store: RunStore, files: Mapping[str, File]) -> None:
        """Window by window, up to the number that was asked for or until intervals are narrow enough."""
        self._keep_text(store, files[self.plan.reference])
        failures: Counter[str] = Counter()
        while True:
            n = store.run.windows
            self._pass_through(store, files, failures)
            if store.run.identity.until is None:
                return
            found = look(store.run, [n for n in self.plan.names if n not in self.plan.alone])
            store.append(found)
            self.plan.work.reporter.say(seen(found, store.run))
            if store.run.windows == n or all(failures[name] >= _FAILURES_TO_GIVE_UP for name in files):
                return

    def _pass_through(self, store: RunStore, files: Mapping[str, File], failures: Counter[str]) -> None:
        """The reference first, then every recipe against the reference's logits for that window, window by window.

        The logits of one window lie on disk at a time, as float32, and are gone when its pass ends.
        """
        plan, work = self.plan, self.plan.work
        pending = self._pending(store.run, files)
        logits = work.executor.site.path(self._logits)
        with work.scratch_files(), work.reporter.steps(self.title, sum(map(len, pending.values()))) as steps:
            for window, names in pending.items():
                logits.unlink(missing_ok=True)  # of the window before
                # of the first window always, wherever a run was interrupted
                wants_floor = window == 0 and windows_of(store.run).floor is None
                if (names or wants_floor) and plan.reference not in names:
                    self._reference_again(files[plan.reference], window)
                for name in names:
                    if failures[name] < _FAILURES_TO_GIVE_UP:
                        steps.name(f"pass {window + 1} of {store.run.windows}, {name}")
                        failures[name] += not self._measure(store, name, files, window)
                    steps.done()
                if wants_floor and logits.exists():
                    self._measure_floor(store, files[plan.reference], window)

    def _keep_text(self, store: RunStore, reference: File) -> None:
        """Put the text of a window on record, for pages; figures do without it."""
        work = self.plan.work
        if not wants_excerpt(store.run):
            return
        try:
            store.append(excerpt(store.run, work.executor, reference.content, self.plan.stream.content))
        except MeasurementError as e:
            work.reporter.warn(f"the text of the page was not kept: {e}")

    def _has(self, run: Run, name: str, window: int) -> bool:
        """Whether a window is on record in full: a recipe's with the comparison, which it lacks if the reference failed."""
        found = windows_of(run).by_file.get(name, {}).get(window)
        compared = found is not None and found.result.tokens is not None and found.result.tokens.kl is not None
        return found is not None and (compared or name == self.plan.reference or name in self.plan.alone)

    def _order(self, window: int, names: list[str]) -> list[str]:
        """The reference first, then the recipes, every other pass backwards: what a place in the order does to a timing
        cancels out."""
        recipes = [n for n in names if n != self.plan.reference]
        return [n for n in names if n == self.plan.reference] + (recipes[::-1] if window % 2 else recipes)

    def _measure(self, store: RunStore, name: str, files: Mapping[str, File], window: int) -> bool:
        """Measure one window of one file and put it, or its failure, on record. Returns whether it went well."""
        plan, work = self.plan, self.plan.work
        is_reference = name == plan.reference
        compared = not is_reference and name not in plan.alone
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        # none when the reference failed: the recipe is scored all the same
        there = work.executor.site.path(self._logits).exists()
        job = MeasureJob(
            model=files[name].content,
            stream=plan.stream.content,
            windows=(window,),
            settings=work.settings,
            write_logits=self._logits if is_reference else None,
            reference_logits=self._logits if compared and there else None,
        )
        run = store.run.header.id
        try:
            measured = work.do_compared(
                job, job.reference_logits, lambda: self._reference_again(files[plan.reference], window)
            )
            if measured.library != work.library:
                raise MeasurementError("another build of the engine was installed during the run")
        except BenchError as e:  # of this file: another one may do
            store.append(FailureRecord(run=run, recipe=name, window=window, reason=str(e)))
            work.reporter.warn(f"{name}, window {window}: {e}")
            return False
        record = WindowRecord(
            run=run,
            recipe=name,
            sha256=store.run.files[name].sha256,
            result=measured.windows[0],
            isa=measured.library.isa,
            cpu=store.run.identity.machine.cpu,
            threads=work.threads,
            cpus=work.cpus,
            load=load,
            sitting=plan.sitting,
        )
        store.append(record)
        return True

    def _measure_floor(self, store: RunStore, file: File, window: int) -> None:
        """The reference against itself with half the threads and a quarter of the batch: what rounding alone does."""
        work = self.plan.work
        threads, ubatch = max(work.threads // 2, 1), max(work.settings.ubatch // 4, 1)
        job = MeasureJob(
            model=file.content,
            stream=self.plan.stream.content,
            windows=(window,),
            settings=work.settings.model_copy(update={"threads": threads, "ubatch": ubatch, "generate": 0}),
            reference_logits=self._logits,
        )
        try:
            [result] = work.do_compared(job, self._logits, lambda: self._reference_again(file, window)).windows
        except MeasurementError as e:
            work.reporter.warn(f"the measurement floor was not measured: {e}")
        else:
            store.append(FloorRecord(run=store.run.header.id, threads=threads, ubatch=ubatch, result=result))

    def _reference_again(self, file: File, window: int) -> None:
        """The reference's logits for a window that is on record, for a run that stopped within the pass."""
        work = self.plan.work
        job = MeasureJob(
            model=file.content,
            stream=self.plan.stream.content,
            windows=(window,),
            settings=work.settings.model_copy(update={"generate": 0}),
            write_logits=self._logits,
        )
        try:
            work.executor.do(job)
        except MeasurementError as e:
            work.reporter.warn(f"window {window} is scored without a comparison with the reference: {e}")

    def check_room(self) -> None:
        """Say how much room the reference's logits take, and refuse to begin where it is not there."""
        work, info = self.plan.work, self.plan.work.reference.info
        directory = work.executor.site.path(self._logits).parent
        needed = ReferenceLogits.n_bytes(work.settings.window // 2, info.vocabulary)
        free = shutil.disk_usage(directory).free
        if free < needed:
            raise BenchError(
                f"{directory}: the reference's logits for one window need {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB "
                "are free; free some space or choose another directory with --cache"
            )
        memory = machine_memory()
        if needed > memory.available:
            raise BenchError(
                f"the logits of a window take {needed / 1e6:,.0f} MB of memory and {memory.available / 1e6:,.0f} MB are available; "
                "end other programs or choose a smaller --window"
            )
        if info.n_bytes + needed > memory.total:
            work.reporter.warn(
                f"{info.name} with the logits of a window takes {(info.n_bytes + needed) / 1e9:,.1f} GB and "
                f"this machine has {memory.total / 1e9:,.1f}: it is read from the disk again and again, and its times show that"
            )
        work.reporter.say(f"The reference's logits for one window at a time: {needed / 1e6:,.0f} MB in {directory}")
