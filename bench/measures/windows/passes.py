"""The sweep's stage that scores and times: passes over all files, one window of the text each.

A pass visits every file once, each in a fresh process, with one window of the text: it is scored and timed in the same
decode. So the files' timings are interleaved as closely as can be, and every ratio is formed within a pass.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.core.errors import BenchError, MeasurementError
from bench.core.progress import Reporter
from bench.engine.memory import machine_memory
from bench.engine.scoring import ReferenceLogits
from bench.execute.jobs import LibraryInfo, MeasureJob, MeasureResult, Settings
from bench.execute.local import run_job
from bench.models.reference import Reference
from bench.records.run import FailureRecord, FloorRecord, Run, RunStore, WindowRecord

#: A recipe whose measurements fail this often in one sitting is given up until the next.
_FAILURES_TO_GIVE_UP = 2


@dataclass(frozen=True)
class Passes:
    """What is measured, and on what. stream: the tokenized text; alone: files that are not compared with the reference.

    cpu: the machine's, for the records; sitting: when the program was started; scratch: a directory of this process alone.
    """

    reference_label: str
    reference: Reference
    alone: frozenset[str]
    stream: Path
    windows: int
    settings: Settings
    threads: int
    cpus: tuple[int, ...]
    library: LibraryInfo
    cpu: str
    sitting: str
    scratch: Path
    reporter: Reporter

    @property
    def logits(self) -> ReferenceLogits:
        return ReferenceLogits(self.scratch / "window.logits", self.reference.info.vocabulary)

    def pending(self, run: Run, names: Iterable[str]) -> dict[int, list[str]]:
        """Files that are still to be measured, by window, in the order of the pass."""
        return {w: self._order(w, [n for n in names if not self.has(run, n, w)]) for w in range(self.windows)}

    def measure(self, store: RunStore, paths: dict[str, Path]) -> None:
        """Window by window: the reference first, then every recipe against the reference's logits for that window.

        The logits of one window lie on disk at a time, as float32, and are gone when its pass ends.
        """
        pending = self.pending(store.run, paths)
        failures: Counter[str] = Counter()
        for left_behind in self.scratch.parent.glob("*"):  # by runs that were killed
            if not (left_behind.name.isdigit() and psutil.pid_exists(int(left_behind.name))):
                shutil.rmtree(left_behind, ignore_errors=True)
        logits = self.logits
        try:
            with self.reporter.steps("Scoring and timing", sum(map(len, pending.values()))) as steps:
                for window, names in pending.items():
                    logits.path.unlink(missing_ok=True)  # of the window before
                    if names and self.reference_label not in names:
                        self._reference_again(window, logits)
                    for name in names:
                        if failures[name] < _FAILURES_TO_GIVE_UP:
                            steps.name(f"pass {window + 1} of {self.windows}, {name}")
                            failures[name] += not self._measure(store, name, paths[name], window, logits)
                        steps.done()
                    if names and store.run.floor is None and logits.path.exists():
                        self._measure_floor(store, window, logits)
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def has(self, run: Run, name: str, window: int) -> bool:
        """Whether a window is on record in full: a recipe's with the comparison, which it lacks if the reference failed."""
        found = run.windows.get(name, {}).get(window)
        compared = found is not None and found.result.tokens is not None and found.result.tokens.kl is not None
        return found is not None and (compared or name == self.reference_label or name in self.alone)

    def _order(self, window: int, names: list[str]) -> list[str]:
        """The reference first, then the recipes, every other pass backwards: what a place in the order does to a timing
        cancels out."""
        recipes = [n for n in names if n != self.reference_label]
        return [n for n in names if n == self.reference_label] + (recipes[::-1] if window % 2 else recipes)

    def _measure(self, store: RunStore, name: str, path: Path, window: int, logits: ReferenceLogits) -> bool:
        """Measure one window of one file and put it, or its failure, on record. Returns whether it went well."""
        is_reference = name == self.reference_label
        compared = not is_reference and name not in self.alone
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        job = MeasureJob(
            model=path,
            stream=self.stream,
            windows=(window,),
            settings=self.settings,
            write_logits=logits.path.absolute() if is_reference else None,
            # none when the reference failed: the recipe is scored all the same
            reference_logits=logits.path.absolute() if compared and logits.path.exists() else None,
        )
        run = store.run.header.id
        try:
            measured = run_job(job, MeasureResult, cpus=list(self.cpus))
            if measured.library != self.library:
                raise MeasurementError("another build of the engine was installed during the run")
        except BenchError as e:  # of this file: another one may do
            store.append(FailureRecord(run=run, recipe=name, window=window, reason=str(e)))
            self.reporter.warn(f"{name}, window {window}: {e}")
            return False
        record = WindowRecord(
            run=run,
            recipe=name,
            sha256=store.run.files[name].sha256,
            result=measured.windows[0],
            isa=measured.library.isa,
            cpu=self.cpu,
            threads=self.threads,
            cpus=self.cpus,
            load=load,
            sitting=self.sitting,
        )
        store.append(record)
        return True

    def _measure_floor(self, store: RunStore, window: int, logits: ReferenceLogits) -> None:
        """The reference against itself with half the threads and a quarter of the batch: what rounding alone does."""
        threads, ubatch = max(self.threads // 2, 1), max(self.settings.ubatch // 4, 1)
        job = MeasureJob(
            model=self.reference.path,
            stream=self.stream,
            windows=(window,),
            settings=self.settings.model_copy(update={"threads": threads, "ubatch": ubatch, "generate": 0}),
            reference_logits=logits.path.absolute(),
        )
        try:
            [result] = run_job(job, MeasureResult, cpus=list(self.cpus)).windows
        except MeasurementError as e:
            self.reporter.warn(f"the measurement floor was not measured: {e}")
        else:
            store.append(FloorRecord(run=store.run.header.id, threads=threads, ubatch=ubatch, result=result))

    def _reference_again(self, window: int, logits: ReferenceLogits) -> None:
        """The reference's logits for a window that is on record, for a run that stopped within the pass."""
        settings = self.settings.model_copy(update={"generate": 0})
        job = MeasureJob(
            model=self.reference.path,
            stream=self.stream,
            windows=(window,),
            settings=settings,
            write_logits=logits.path.absolute(),
        )
        try:
            run_job(job, MeasureResult, cpus=list(self.cpus))
        except MeasurementError as e:
            self.reporter.warn(f"window {window} is scored without a comparison with the reference: {e}")

    def check_room(self) -> None:
        """Say how much room the reference's logits take, and refuse to begin where it is not there."""
        logits = self.logits
        directory = logits.path.parent
        needed = logits.n_bytes(self.settings.window // 2, logits.vocabulary)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(directory).free
        except OSError as e:
            raise BenchError(
                f"{directory}: cannot be written ({e.strerror}); choose another directory with --cache"
            ) from e
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
        if self.reference.info.n_bytes + needed > memory.total:
            self.reporter.warn(
                f"{self.reference.info.name} with the logits of a window takes {(self.reference.info.n_bytes + needed) / 1e9:,.1f} GB and "
                f"this machine has {memory.total / 1e9:,.1f}: it is read from the disk again and again, and its times show that"
            )
        self.reporter.say(f"The reference's logits for one window at a time: {needed / 1e6:,.0f} MB in {directory}")
