"""The windows of a run, read from its records."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from pathlib import Path

from bench.measures.windows.apart import Apart, Scored
from bench.measures.windows.jobs import WindowResult
from bench.measures.windows.records import FloorRecord, TimesRecord, Way, WindowRecord
from bench.records.run import Run


class Windows:
    """The windows of a run. Use `windows_of(run)`, which makes it once."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @cached_property
    def by_file(self) -> dict[str, dict[int, WindowRecord]]:
        """Window records by file and window, of the files as they are recorded now; only those with times, in a run that measures speeds and whose scores are a
        device's: there times may come later, from another site."""
        identity = self._run.identity
        if not identity.speeds or identity.settings.offload is None:
            return self.scored
        return {
            name: {w: r for w, r in by_window.items() if r.result.is_timed} for name, by_window in self.scored.items()
        }

    @cached_property
    def scored(self) -> dict[str, dict[int, WindowRecord]]:
        """The same, with times or without."""
        found: dict[str, dict[int, WindowRecord]] = {name: {} for name in self._run.files}
        looks = len(self._run.identity.looks)
        for r in self._run.current(WindowRecord):
            filled = self._timed(self._filled(r))
            if looks > 1:
                filled = filled.model_copy(update={"result": filled.result.model_copy(update={"looks": looks})})
            found[r.recipe][r.result.window] = filled
        return {name: dict(sorted(by_window.items())) for name, by_window in found.items()}

    @cached_property
    def _times(self) -> dict[tuple[str, int], TimesRecord]:
        return {(r.recipe, r.result.window): r for r in self._run.current(TimesRecord)}

    def _timed(self, record: WindowRecord) -> WindowRecord:
        """A window with its times, where these were measured apart: what a record says of CPU, load and site is about times."""
        times = self._times.get((record.recipe, record.result.window))
        if times is None or record.result.is_timed:
            return record
        told = {name: getattr(times, name) for name in ("isa", "cpu", "threads", "cpus", "load", "sitting", "site")}
        return record.model_copy(update={"result": record.result.timed_by(times.result), **told})

    def has_times(self, name: str, window: int) -> bool:
        """Whether times of a window are on record, with its scores or without."""
        found = self.scored.get(name, {}).get(window)
        return (name, window) in self._times or (found is not None and found.result.is_timed)

    @cached_property
    def floors(self) -> dict[tuple[str, Way], FloorRecord]:
        """Windows that were computed in another way, by file and way; of the files as they are recorded now."""
        files, reference = self._run.files, self._run.reference or ""
        return {
            (r.recipe or reference, r.way): self._filled(r)
            for r in self._run.of(FloorRecord)
            if r.recipe is None or (r.recipe in files and files[r.recipe].sha256 == r.sha256)
        }

    def _filled(self, record: Scored) -> Scored:
        """A record with its values of tokens, where they stand apart."""
        return record if record.apart is None else self._apart.filled(record)

    @cached_property
    def _apart(self) -> Apart:
        return Apart(self._run.directory or Path(), self._run.header.id)

    @cached_property
    def cpus(self) -> dict[str, int]:
        """CPU models that windows were measured on, with the number of windows: most first, and of equal ones the header's."""
        found = Counter(w.cpu for by_window in self.by_file.values() for w in by_window.values())
        own = self._run.identity.machine.cpu
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0] != own)))

    def on_cpu(self, name: str, cpu: str) -> list[WindowResult]:
        """The file's windows that were measured on CPUs of one model."""
        return [r.result for r in self.by_file[name].values() if r.cpu == cpu]

    def _on_one_cpu(self, records: list[WindowRecord], cpu: str | None = None) -> list[WindowResult]:
        """Windows without their times where they were measured on another CPU model than this one. cpu: None for that of most of the run's
        windows (of several sites of a cluster), as far as any of these were measured on it."""
        there = {r.cpu for r in records}
        told = cpu or next((c for c in self.cpus if c in there), "")
        return [r.result if r.cpu == told else r.result.untimed() for r in records]

    def results(self, name: str | None) -> list[WindowResult] | None:
        """The file's windows if it has all of them: figures over fewer windows would not compare."""
        found = list(self.by_file.get(name or "", {}).values())
        return self._on_one_cpu(found) if found and len(found) == self._run.windows else None

    def same_sitting(self, a: str, b: str, *, cpu: str | None = None) -> tuple[list[WindowResult], list[WindowResult]]:
        """Windows of two files that were measured in the same pass of the same sitting, whose times compare; only those of one CPU model have times.
        cpu: which, None for that of most windows."""
        both = [
            (x, y)
            for w, x in self.by_file[a].items()
            if (y := self.by_file[b].get(w)) is not None and (x.sitting, x.site) == (y.sitting, y.site)
        ]
        return self._on_one_cpu([x for x, _ in both], cpu), self._on_one_cpu([y for _, y in both], cpu)

    @property
    def is_complete(self) -> bool:
        """Whether every file has all its windows, and nothing failed."""
        n = self._run.windows
        return bool(self.by_file) and not self._run.failures and all(len(w) == n for w in self.by_file.values())


def windows_of(run: Run) -> Windows:
    """The windows of a run."""
    return run.view(Windows)
