"""The sweep's stage that scores and times: passes over all files, one window of the text each.

In a pass every file has a fresh process and one window of the text, scored and timed in the same decodes. Files that fit into memory together
take turns step by step (side_by_side.py), so that every ratio is of times that lie close together. Where nothing is timed
they do so for all passes in the same processes, so that models are loaded once.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from bench.core.errors import MeasurementError
from bench.core.machine import this_machine
from bench.core.progress import Steps
from bench.engine.memory import machine_memory
from bench.measures.plan import File, Part, Plan
from bench.measures.windows.excerpt import excerpt, wants_excerpt
from bench.measures.windows.floor_pass import FLOOR_WINDOW, FloorPass, lacking
from bench.measures.windows.groups import groups, memory_beside
from bench.measures.windows.jobs import WindowResult
from bench.measures.windows.narrow import look, seen
from bench.measures.windows.records import TimesRecord, WindowRecord
from bench.measures.windows.runs import windows_of
from bench.measures.windows.scorer import Scorer
from bench.measures.windows.spans import spans, wants_spans
from bench.records.families import mixed_pairs
from bench.records.record import FailureRecord
from bench.records.run import Run
from bench.records.store import RunStore
from bench.workbench.checks import check_cpus

#: A recipe whose measurements fail this often in one sitting is given up until the next.
_FAILURES_TO_GIVE_UP = 2


@dataclass(frozen=True)
class Passes:
    """Windows of all files of a plan, scored and timed."""

    plan: Plan
    title: str

    @property
    def _scorer(self) -> Scorer:
        return Scorer(self.plan)

    def pending(self, run: Run) -> set[str]:
        """Files of which a window is not on record in full; all of them where it is not known whether more windows are needed; those whose
        floor is not, and the reference, where what every run has of it beside its windows is not."""
        found = {name for names in self._pending(run, self.plan.names).values() for name in names}
        if not found and self.plan.part == Part() and self._is_undecided(run):
            return set(self.plan.names)
        if not self._has_floor:
            return found
        floored = {name for name, _ in lacking(self.plan, run)}
        lacks = floored or wants_excerpt(run) or wants_spans(run)
        return found | floored | ({self.plan.reference} if lacks else set())

    @property
    def _has_floor(self) -> bool:
        """Whether the floor, and what every run has of the reference beside its windows, belong to the part."""
        return self.plan.part.has(index=FLOOR_WINDOW) and self.plan.part.what != "times"

    @property
    def _is_split(self) -> bool:
        """Whether scores and times are measured at sites of their own kinds."""
        options = self.plan.work.options
        return self.plan.work.offload is not None and options.cluster is not None and not options.no_speed

    def _is_undecided(self, run: Run) -> bool:
        """Whether the run stopped between its windows and the look at them."""
        return run.identity.until is not None and run.windows not in run.looks

    def progress(self, run: Run) -> tuple[int, int]:
        total = len(self.plan.names) * run.windows
        return total - sum(map(len, self._pending(run, self.plan.names).values())), total

    def _pending(self, run: Run, names: Iterable[str]) -> dict[int, list[str]]:
        """Files that are still to be measured, by window."""
        wanted = list(names)
        windows = (w for w in range(run.windows) if self.plan.part.has(index=w))
        return {w: [n for n in wanted if not self._has(run, n, w)] for w in windows}

    def parts(self, run: Run) -> list[Part]:
        """Window by window: the times of a pass are held against each other, and its files share the reference's logits. Where a device scores, these are parts of
        their own beside those of times."""
        if not self._is_split:
            return [Part(indices=(w,)) for w in sorted(self._wanted(run))]
        whats: tuple[Literal["scores", "times"], ...] = ("scores", "times")
        wanted = {what: Passes(self.plan.only(Part(what=what)), self.title)._wanted(run) for what in whats}
        return [Part(indices=(w,), what=what) for what, windows in wanted.items() for w in sorted(windows)]

    def _wanted(self, run: Run) -> set[int]:
        """Windows of which something is not on record."""
        wanted = {w for w, names in self._pending(run, self.plan.names).items() if names}
        if self._has_floor and (wants_excerpt(run) or wants_spans(run) or lacking(self.plan, run)):
            wanted.add(FLOOR_WINDOW)
        return wanted

    def measure(self, store: RunStore, files: Mapping[str, File]) -> None:
        """Window by window, up to the number that was asked for or until intervals are narrow enough."""
        if self._has_floor:
            self._keep_text(store, files[self.plan.reference])
        failures: Counter[str] = Counter()
        while True:
            n = store.run.windows
            self._pass_through(store, files, failures)
            if (
                not self.looked(store)
                or store.run.windows == n
                or all(failures[name] >= _FAILURES_TO_GIVE_UP for name in files)
            ):
                return

    def looked(self, store: RunStore) -> bool:
        """Look whether intervals are narrow by now, and put that on record; whether the run is one that looks, and all of it is here."""
        if store.run.identity.until is None or self.plan.part != Part():
            return False
        found = look(store.run, [n for n in self.plan.names if n not in self.plan.alone])
        store.append(found)
        self.plan.work.reporter.say(seen(found, store.run))
        return True

    def _pass_through(self, store: RunStore, files: Mapping[str, File], failures: Counter[str]) -> None:
        """Every file against the reference's logits for a window, window by window."""
        work, pending = self.plan.work, self._pending(store.run, files)
        with work.scratch_files(), work.reporter.steps(self.title, sum(map(len, pending.values()))) as steps:
            left = list(pending)
            while left:
                names = pending[left[0]]
                beside = self._groups(store.run, names, files, leads=True)
                n = self._at_once(left, pending) if len(beside) == 1 else 1
                windows, left = left[:n], left[n:]
                if n > 1:
                    self._passes(store, files, beside[0], windows, failures, steps)
                for window in windows:
                    self._pass(store, files, window, failures, steps)
                if windows[0] == FLOOR_WINDOW:
                    self._measure_floor(store, files)

    def _at_once(self, left: Sequence[int], pending: Mapping[int, Sequence[str]]) -> int:
        """How many of the windows that are left are scored in one job, by files that fit into memory side by side: one, where they are timed,
        where a device scores one file at a time, or where it is the first, whose logits the floor needs; else all that the same files lack."""
        if self._scorer.timed or self.plan.work.offload is not None or left[0] == FLOOR_WINDOW:
            return 1
        return sum(1 for _ in takewhile(lambda w: pending[w] == pending[left[0]], left))

    def _passes(
        self,
        store: RunStore,
        files: Mapping[str, File],
        group: Sequence[str],
        windows: Sequence[int],
        failures: Counter[str],
        steps: Steps,
    ) -> None:
        """Several windows that files of a group lack, in one job, each put on record as soon as all files have it. What a file fails to score
        stays pending: window by window tells which one it was."""
        wanted = [n for n in group if failures[n] < _FAILURES_TO_GIVE_UP]
        new = [n for n in wanted if not self._has(store.run, n, windows[0])]
        if not new or self.plan.reference not in wanted:
            return
        steps.name(f"passes {windows[0] + 1} to {windows[-1] + 1} of {store.run.windows}")
        self._scorer.logits.unlink(missing_ok=True)  # of the window before
        load, total, done = _load(), len(new) * len(windows), 0

        def keep(name: str, result: WindowResult) -> None:
            nonlocal done
            if name in new and self._is_whole(name, result):
                store.append(self._record(store.run, name, result, load))
                steps.done()
                done += 1

        failed = self._scorer.score_several(
            files, wanted, windows, lambda share: steps.share(max(share * total - done, 0.0)), keep
        )
        for name, reason in failed.items():
            self.plan.work.reporter.warn(f"{name}: {reason}; the windows that it lacks are scored one by one")

    def _pass(
        self, store: RunStore, files: Mapping[str, File], window: int, failures: Counter[str], steps: Steps
    ) -> None:
        """One window of the files that lack it. Raises BenchError where it is timed on CPUs that were taken away."""
        if self._scorer.timed:
            check_cpus(self.plan.work.cpus)
        names = [n for n in files if not self._has(store.run, n, window)]
        self._scorer.logits.unlink(missing_ok=True)  # of the window before
        # of the first window always, wherever a run was interrupted
        compares = self.plan.part.what != "times"
        wants_floor = compares and window == FLOOR_WINDOW and bool(lacking(self.plan, store.run))
        leads = wants_floor or (compares and any(failures[n] < _FAILURES_TO_GIVE_UP for n in names))
        for group in self._groups(store.run, names, files, leads=leads):
            wanted = [n for n in group if failures[n] < _FAILURES_TO_GIVE_UP]
            steps.name(f"pass {window + 1} of {store.run.windows}" + (f", {wanted[0]}" if len(wanted) == 1 else ""))
            new = [n for n in wanted if n in names]
            measured = self._measure(store, files, wanted, window, steps) if wanted else set()
            for name in new:
                failures[name] += name not in measured
            if among := set(group) & set(names):
                steps.done(len(among))

    def _measure_floor(self, store: RunStore, files: Mapping[str, File]) -> None:
        """What of the floor is not on record, while the reference's logits of its window are there."""
        if self._scorer.logits.exists() and lacking(self.plan, store.run):
            FloorPass(
                self.plan, self._scorer.content, lambda: self._scorer.reference_again(files, FLOOR_WINDOW)
            ).measure(store, files)

    def _groups(self, run: Run, names: list[str], files: Mapping[str, File], *, leads: bool) -> list[list[str]]:
        """Files of a pass that are measured side by side. leads: whether the reference comes first, its own window on record or not, since
        others need its logits."""
        reference = self.plan.reference
        wanted = [reference, *(n for n in names if n != reference)] if leads else names
        pairs = [(p.standard, p.gated) for p in mixed_pairs(run) if p.standard and p.gated]
        needed = {n: memory_beside(files[n].path, self.plan.work.settings) for n in wanted}
        return groups(wanted, pairs, needed, machine_memory().available)

    def _keep_text(self, store: RunStore, reference: File) -> None:
        """Put the text of a window on record, for pages, and where in the text tokens are, for comparisons with other models; the run's own
        figures do without them."""
        work, stream = self.plan.work, self.plan.stream
        try:
            if wants_excerpt(store.run):
                store.append(excerpt(store.run, work.executor, reference.content, stream.content))
            if wants_spans(store.run):
                store.append(spans(store.run, work.executor, reference.content, stream))
        except MeasurementError as e:
            work.reporter.warn(f"what the text of the page and comparisons with other models need was not kept: {e}")

    def _has(self, run: Run, name: str, window: int) -> bool:
        """Whether a window is on record in full."""
        windows, what = windows_of(run), self.plan.part.what
        if what == "times":
            return windows.has_times(name, window)
        found = windows.scored.get(name, {}).get(window)
        scored = found is not None and self._is_whole(name, found.result)
        return scored and (what == "scores" or not run.identity.speeds or windows.has_times(name, window))

    def _is_whole(self, name: str, result: WindowResult) -> bool:
        """Whether a recipe's window has the comparison, which it lacks if the reference failed."""
        compared = result.tokens is not None and result.tokens.kl is not None
        return compared or name == self.plan.reference or name in self.plan.alone

    def _measure(
        self, store: RunStore, files: Mapping[str, File], names: list[str], window: int, steps: Steps
    ) -> set[str]:
        """Measure one window of files side by side and put each, or its failure, on record, but for what is there already. Returns the names of
        those that went well."""
        work = self.plan.work
        pending = {n for n in names if not self._has(store.run, n, window)}
        load = _load()
        found = self._scorer.score(files, names, window, lambda share: steps.share(share * len(pending)))
        for name, side in found.items():
            if name not in pending:
                if side.error is not None:
                    work.reporter.warn(
                        f"window {window} is scored without a comparison with the reference: {side.error}"
                    )
                continue
            if side.error is not None:
                store.append(FailureRecord(run=store.run.header.id, recipe=name, window=window, reason=side.error))
                work.reporter.warn(f"{name}, window {window}: {side.error}")
                continue
            [result] = side.windows
            store.append(self._record(store.run, name, result, load))
        return {n for n, side in found.items() if side.windows}

    def _record(self, run: Run, name: str, result: WindowResult, load: float | None) -> WindowRecord | TimesRecord:
        work, is_times = self.plan.work, self.plan.part.what == "times"
        kind = TimesRecord if is_times else WindowRecord
        if is_times:  # what belongs to them is scored elsewhere
            result = result.model_copy(update={"tokens": None, "by_surety": None})
        return kind(
            run=run.header.id,
            recipe=name,
            sha256=run.files[name].sha256,
            result=result if self._scorer.timed else result.untimed(),
            isa=work.library.isa,
            cpu=this_machine().cpu,  # a site's may be another than the header's
            threads=work.threads,
            cpus=work.cpus,
            load=load,
            sitting=self.plan.sitting,
        )

    def check_room(self) -> None:
        """Say how much room the reference's logits take, and refuse to begin where it is not there."""
        self._scorer.check_room()


def _load() -> float | None:
    """The machine's load average over the minute before, where there is one."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
