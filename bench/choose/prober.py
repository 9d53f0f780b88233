"""Effects of types on a model's output, measured on calibration text and kept: what recipes are chosen by.

Never on the text that recipes are judged by. Single tensors are probed on some windows of the calibration text and
whole assignments are tried on others. Every figure is kept in the cache as soon as it is measured,
under a key of all it depends on, so that an interrupted measurement goes on where it stopped.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from bench.choose.probe_log import read_log
from bench.core.errors import BenchError, MeasurementError
from bench.core.progress import Reporter
from bench.engine.memory import machine_memory
from bench.execute.jobs import (
    LibraryInfo,
    ProbeJob,
    ProbeResult,
    ProbeSetting,
    SearchJob,
    SearchResult,
    TypeOption,
    WeightErrorJob,
    WeightErrorResult,
    assignment_key,
)
from bench.execute.local import run_job
from bench.gguf_files.info import complete_or_absent, file_sha256
from bench.models.reference import Reference
from bench.workbench.files import Stream, blocks_origin, short_hash

#: Tokens of a window that assignments are measured on, all of them scored.
WINDOW = 512
#: Windows that single tensors are probed on, and that whole assignments are tried on. One is enough to order tensors: the
#: sensitivities that two windows gave for the default model have a rank correlation of 0.98.
PROBE_WINDOWS, TRIAL_WINDOWS = 1, 3
#: Part of every key: raise it when probing changes what it measures.
_VERSION = 1


@dataclass(frozen=True)
class Prober:
    """A model with its importance matrix and calibration text, to try types on.

    importance: the matrix file, or None; stream: the calibration text's tokens.
    """

    reference: Reference
    importance: Path | None
    stream: Stream
    library: LibraryInfo
    cache: Path
    threads: int
    cpus: tuple[int, ...]

    def __post_init__(self) -> None:
        if self._available < 2:
            raise BenchError(
                f"{self.stream.name}: has {self.stream.tokens:,} tokens; choosing types takes two windows of {WINDOW} at least, "
                "give a longer --calibration text"
            )

    @property
    def _available(self) -> int:
        """Windows of the text."""
        return self.stream.tokens // WINDOW

    @property
    def probe_windows(self) -> tuple[int, ...]:
        """Windows that single tensors are probed on, at equal distances over the text; not more than half of them."""
        n = min(PROBE_WINDOWS, self._available // 2)
        return tuple(int(self._available * (i + 0.5) / n) for i in range(n))

    @property
    def trial_windows(self) -> tuple[int, ...]:
        """Windows that whole assignments are tried on, others than those."""
        others = [w for w in range(self._available) if w not in self.probe_windows]
        n = min(TRIAL_WINDOWS, len(others))
        return tuple(others[int(len(others) * (i + 0.5) / n)] for i in range(n))

    @cached_property
    def origin(self) -> str:
        """Names all that quantized blocks depend on, beside tensor and type."""
        matrix = file_sha256(self.importance) if self.importance else None
        return blocks_origin(self.reference, matrix, self.library)

    @contextmanager
    def _alone(self, reporter: Reporter) -> Iterator[None]:
        """One process at a time measures a model: another would do the same again, and both slower."""
        lock = FileLock(self._file("lock"))
        lock_file = Path(lock.lock_file)
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            reporter.warn(f"waiting for another process that measures {self.reference.info.name}")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _check_room(self, windows: tuple[int, ...]) -> None:
        """Raise MeasurementError where memory or disk cannot hold what probing takes."""
        info = self.reference.info
        logits = 4 * WINDOW * info.vocabulary
        # the model, unmapped; logits of a window, twice; a tenth for the rest
        needed, available = 1.1 * info.n_bytes + 2 * logits, machine_memory().available
        if needed > available:
            raise MeasurementError(
                f"measuring the sensitivity of {info.name} takes {needed / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are "
                "available; free some, or leave out recipes with a size (DG-, auto@)"
            )
        free = shutil.disk_usage(self._scratch).free
        if len(windows) * logits > free:
            raise MeasurementError(
                f"{self.cache}: the reference's logits take {len(windows) * logits / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free; "
                "free some space or choose another directory with --cache"
            )

    @cached_property
    def _scratch(self) -> Path:
        """Where the reference's logits lie until this process ends. (What a killed one leaves the next run removes.)"""
        path = self.cache.absolute() / "scratch" / str(os.getpid()) / self.key
        shutil.rmtree(path, ignore_errors=True)  # of a killed process that had this number
        path.mkdir(parents=True)
        atexit.register(shutil.rmtree, path, ignore_errors=True)
        return path

    @property
    def key(self) -> str:
        """Names what all that is measured here depends on, beside what is asked for."""
        windows = self.probe_windows, self.trial_windows
        return short_hash(_VERSION, self.origin, self.stream.path.stem, WINDOW, windows)

    def _file(self, what: str, *parts: object) -> Path:
        name = f"{self.reference.path.stem}-{short_hash(_VERSION, self.origin, *parts)}.{what}"
        return self.cache / "sensitivity" / name

    def errors(self, types: dict[str, tuple[str, ...]], reporter: Reporter) -> dict[str, dict[str, float]]:
        """Relative weighted errors (weight_error.py) of tensors in types."""
        with self._alone(reporter):
            return self._errors(types, self._file("errors.json"), reporter)

    def _errors(self, types: dict[str, tuple[str, ...]], path: Path, reporter: Reporter) -> dict[str, dict[str, float]]:
        try:
            known: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        missing = {n: tuple(t for t in wanted if t not in known.get(n, {})) for n, wanted in types.items()}
        missing = {n: wanted for n, wanted in missing.items() if wanted}
        if missing:
            job = WeightErrorJob(
                model=self.reference.path,
                types=missing,
                importance=self.importance and self.importance.absolute(),
                threads=self.threads,
            )
            with reporter.steps("Weighted error of each tensor and type", 1) as steps:
                found = run_job(job, WeightErrorResult, cpus=list(self.cpus), progress=steps.share).errors
            for name, of_types in found.items():
                known.setdefault(name, {}).update(of_types)
            with complete_or_absent(path) as partial:
                partial.write_text(json.dumps(known), encoding="utf-8")
        return known

    def divergences(
        self, assignments: Sequence[dict[str, str]], windows: tuple[int, ...], label: str, reporter: Reporter
    ) -> list[NDArray[np.float64]]:
        """Mean KL divergence from the model as it is, in nats, by window: one array for each assignment of types, empty
        where the logits were not finite."""
        with self._alone(reporter):
            setting = self._setting(windows)
            known = read_log(setting.log)
            keys = [assignment_key(a) for a in assignments]
            missing = {k: a for k, a in zip(keys, assignments, strict=True) if k not in known}
            if missing:
                self._check_room(windows)
                job, n = ProbeJob(setting=setting, assignments=tuple(missing.values())), len(missing)
                with reporter.steps(label, n) as steps:
                    run_job(job, ProbeResult, cpus=list(self.cpus), progress=lambda share: steps.share(share * n))
                known = read_log(setting.log)
        return [np.array(known[k].kl) for k in keys]

    def search(
        self,
        label: str,
        reporter: Reporter,
        *,
        prediction: str,
        options: dict[str, tuple[TypeOption, ...]],
        budget: int,
        groups: dict[str, tuple[str, ...]],
        refinements: int,
        others: dict[str, dict[str, str]],
    ) -> SearchResult:
        """The assignment of least divergence on the trial windows (see search.py), found in one worker."""
        with self._alone(reporter):
            self._check_room(self.trial_windows)
            job = SearchJob(
                setting=self._setting(self.trial_windows),
                prediction=prediction,
                options=options,
                budget=budget,
                groups=groups,
                refinements=refinements,
                others=others,
            )
            with reporter.steps(label, 1) as steps:
                return run_job(job, SearchResult, cpus=list(self.cpus), progress=steps.share)

    def _setting(self, windows: tuple[int, ...]) -> ProbeSetting:
        return ProbeSetting(
            model=self.reference.path,
            stream=self.stream.path,
            window=WINDOW,
            windows=windows,
            importance=self.importance and self.importance.absolute(),
            threads=self.threads,
            blocks=self.cache.absolute() / "blocks",
            origin=self.origin,
            logits=self._scratch,
            log=self._file("probes.jsonl", self.stream.path.stem, WINDOW, windows).absolute(),
        )
