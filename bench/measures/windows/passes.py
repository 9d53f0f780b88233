"""The sweep's stage that scores and times: passes over all files, one window of the text each.

In a pass every file has a fresh process and one window of the text, scored and timed in the same decodes. Files that fit into memory together
take turns step by step (side_by_side.py), so that every ratio is of times that lie close together.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.core.checked import tell_damage
from bench.core.errors import BenchError, MeasurementError
from bench.core.progress import Steps
from bench.engine.memory import machine_memory
from bench.engine.reference_logits import ReferenceLogits
from bench.execute.content import Content
from bench.execute.job import Share
from bench.measures.plan import File, Plan
from bench.measures.windows.excerpt import excerpt, wants_excerpt
from bench.measures.windows.floor_pass import FLOOR_WINDOW, FloorPass, lacking
from bench.measures.windows.groups import groups, memory_beside
from bench.measures.windows.jobs import MeasureJob, PassJob, SideResult
from bench.measures.windows.narrow import look, seen
from bench.measures.windows.records import WindowRecord
from bench.measures.windows.runs import windows_of
from bench.records.families import mixed_pairs
from bench.records.record import FailureRecord
from bench.records.run import Run
from bench.records.store import RunStore

#: A pass in which the machine stood still for longer, in seconds, is measured once more.
_STILL = 1.5
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
        """Files of which a window is not on record in full; all of them where it is not known whether more windows are needed; those whose
        floor is not, and the reference, where what every run has of it beside its windows is not."""
        found = {name for names in self._pending(run, self.plan.names).values() for name in names}
        if not found and self._is_undecided(run):
            return set(self.plan.names)
        floored = {name for name, _ in lacking(self.plan, run)}
        lacks = floored or wants_excerpt(run)
        return found | floored | ({self.plan.reference} if lacks else set())

    def _is_undecided(self, run: Run) -> bool:
        """Whether the run stopped between its windows and the look at them."""
        return run.identity.until is not None and run.windows not in run.looks

    def progress(self, run: Run) -> tuple[int, int]:
        total = len(self.plan.names) * run.windows
        return total - sum(map(len, self._pending(run, self.plan.names).values())), total

    def _pending(self, run: Run, names: Iterable[str]) -> dict[int, list[str]]:
        """Files that are still to be measured, by window."""
        wanted = list(names)
        return {w: [n for n in wanted if not self._has(run, n, w)] for w in range(run.windows)}

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
        """Every file against the reference's logits for a window, window by window.

        The logits of one window lie on disk at a time, as float32, and are gone when its pass ends.
        """
        plan, work = self.plan, self.plan.work
        pending = self._pending(store.run, files)
        logits = work.executor.site.path(self._logits)
        total = sum(map(len, pending.values()))
        with work.scratch_files(), work.reporter.steps(self.title, total) as steps:
            for window, names in pending.items():
                logits.unlink(missing_ok=True)  # of the window before
                # of the first window always, wherever a run was interrupted
                wants_floor = window == FLOOR_WINDOW and bool(lacking(plan, store.run))
                for group in self._groups(store.run, names, files, leads=bool(names) or wants_floor):
                    wanted = [n for n in group if failures[n] < _FAILURES_TO_GIVE_UP]
                    steps.name(
                        f"pass {window + 1} of {store.run.windows}" + (f", {wanted[0]}" if len(wanted) == 1 else "")
                    )
                    new = [n for n in wanted if n in names]
                    measured = self._measure(store, files, wanted, window, steps) if wanted else set()
                    for name in new:
                        failures[name] += name not in measured
                    if among := set(group) & set(names):
                        steps.done(len(among))
                if (names or wants_floor) and window == FLOOR_WINDOW and logits.exists():
                    self._floor(files).measure(store, files)

    def _groups(self, run: Run, names: list[str], files: Mapping[str, File], *, leads: bool) -> list[list[str]]:
        """Files of a pass that are measured side by side. leads: whether the reference comes first, its own window on record or not, since
        others need its logits."""
        reference = self.plan.reference
        wanted = [reference, *(n for n in names if n != reference)] if leads else names
        pairs = [(p.standard, p.gated) for p in mixed_pairs(run) if p.standard and p.gated]
        needed = {n: memory_beside(files[n].path, self.plan.work.settings) for n in wanted}
        return groups(wanted, pairs, needed, machine_memory().available)

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

    def _measure(
        self, store: RunStore, files: Mapping[str, File], names: list[str], window: int, steps: Steps
    ) -> set[str]:
        """Measure one window of files side by side and put each, or its failure, on record, but for what is there already. Returns the names of
        those that went well."""
        plan, work = self.plan, self.plan.work
        pending = {n for n in names if not self._has(store.run, n, window)}
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        found = self._side_by_side(files, names, window, lambda share: steps.share(share * len(pending)))
        run = store.run.header.id
        for name, side in found.items():
            if name not in pending:
                if side.error is not None:
                    work.reporter.warn(
                        f"window {window} is scored without a comparison with the reference: {side.error}"
                    )
                continue
            if side.result is None:
                store.append(FailureRecord(run=run, recipe=name, window=window, reason=str(side.error)))
                work.reporter.warn(f"{name}, window {window}: {side.error}")
                continue
            record = WindowRecord(
                run=run,
                recipe=name,
                sha256=store.run.files[name].sha256,
                result=side.result,
                isa=work.library.isa,
                cpu=store.run.identity.machine.cpu,
                threads=work.threads,
                cpus=work.cpus,
                load=load,
                sitting=plan.sitting,
            )
            store.append(record)
        return {n for n, side in found.items() if side.result is not None}

    def _side_by_side(
        self, files: Mapping[str, File], names: list[str], window: int, share: Share
    ) -> dict[str, SideResult]:
        """One window of files, measured in turn; once more where the machine stood still meanwhile, or where the reference's logits
        were not as they were kept."""
        work, reference = self.plan.work, self.plan.reference
        found = self._once(files, names, window, share)
        worst = max(found, key=lambda n: found[n].still)
        if found[worst].still > _STILL:
            work.reporter.warn(
                f"pass {window + 1}: the machine or the program stood still for {found[worst].still:.0f} seconds while {worst} was timed; "
                "the pass is measured once more"
            )
            found = self._once(files, names, window, share)
        kept = ReferenceLogits(work.executor.site.path(self._logits), work.reference.info.vocabulary)
        failed = [n for n in names if found[n].error is not None and n != reference and n not in self.plan.alone]
        if failed and kept.path.exists() and not kept.intact():
            tell_damage(kept.path, work.reporter.warn)
            again = self._once(files, [reference, *failed], window, share)
            found |= {name: again[name] for name in failed}
        return found

    def _once(self, files: Mapping[str, File], names: list[str], window: int, share: Share) -> dict[str, SideResult]:
        plan, work = self.plan, self.plan.work
        there = plan.reference in names or work.executor.site.path(self._logits).exists()
        jobs = [
            MeasureJob(
                model=files[name].content,
                stream=plan.stream.content,
                windows=(window,),
                settings=work.settings,
                write_logits=self._logits if name == plan.reference else None,
                # none when the reference failed: the recipe is scored all the same
                reference_logits=self._logits if name != plan.reference and name not in plan.alone and there else None,
            )
            for name in names
        ]
        try:
            done = work.executor.do(PassJob(files=tuple(jobs), backwards=bool(window % 2)), share)
            if done.library != work.library:
                raise MeasurementError("another build of the engine was installed during the run")
            found = dict(zip(names, done.files, strict=True))
        except BenchError as e:  # of these files: others may do
            found = {name: SideResult(error=str(e)) for name in names}
        if plan.reference in names and found[plan.reference].result is None:
            # what it wrote before it failed is not the whole window, and nothing is to be compared with it
            work.executor.site.path(self._logits).unlink(missing_ok=True)
        return found

    def _floor(self, files: Mapping[str, File]) -> FloorPass:
        reference = files[self.plan.reference]
        return FloorPass(self.plan, self._logits, lambda: self._reference_again(reference, FLOOR_WINDOW))

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
