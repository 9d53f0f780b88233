"""Effects of types on a model's output, measured on calibration text and cached. Recipes are chosen by them.

They are never measured on the text that recipes are judged by. Single tensors are probed on some windows of the calibration
text, and whole assignments are tried on others. Every value is cached as soon as it is measured, under a key of everything it
depends on, so that an interrupted measurement goes on where it stopped.
"""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from bench.choose.jobs import Choice, Probed, ProbeJob, ProbeSetting, SearchJob, SearchResult, assignment_key
from bench.choose.probe_log import log_line, mended_log, read_log
from bench.core.checked import read_checked, write_checked
from bench.core.errors import BenchError, MeasurementError
from bench.core.files import short_hash
from bench.engine.memory import machine_memory
from bench.engine.reference_logits import ReferenceLogits
from bench.execute.content import Content
from bench.execute.job import Answer, Job, Share
from bench.quantize.jobs import WeightErrorJob, WeightErrorResult
from bench.workbench.work import Work

#: Tokens of a window that single tensors are probed on, and that whole assignments are tried on; all of them are scored. Few, since decoding
#: them is nearly all that a choice takes. What matters in probes is the length of the context: 256 tokens order the default model's
#: tensors like 512 (rank correlation 0.99), and 128, which tell less of attention (0.96), gave choices of 2.4 bits that lost 4 % more. What three
#: windows of 128 say of whole assignments differs by 4 % from what three of 512 say, where those that are tried differ by 10 % and more.
PROBE_WINDOW, TRIAL_WINDOW = 256, 128
#: Windows that single tensors are probed on for a choice, and to be shown.
PROBE_WINDOWS, SHOWN_WINDOWS = 1, 2
#: Windows that whole assignments are tried on: all of them, and then the best few on all of these. How many of the best.
FIRST_WINDOWS, TRIAL_WINDOWS, FINALISTS = 3, 6, 4
#: Part of every key: raise it when probing changes what it measures.
_VERSION = 1


class Elsewhere(Protocol):
    """Other machines that measure assignments."""

    def probe(
        self,
        assignments: Sequence[dict[str, str]],
        windows: tuple[int, ...],
        length: int,
        keep: Callable[[Probed], None],
    ) -> None:
        """Measure assignments on windows of `length` tokens, in any order, and hand each on as soon as it is known."""

    def search(self, choices: Mapping[str, Choice], keep: Callable[[str, SearchResult], None]) -> None:
        """Make choices, in any order, and hand each on as soon as it is made; those that fail are left out."""


@dataclass(frozen=True)
class Prober:
    """A model with its importance matrix and calibration text, to try types on. elsewhere: what measures single tensors, this machine if None;
    is_elsewhere: whether this is such a machine, which keeps nothing: it may share its cache with the one that does."""

    work: Work
    elsewhere: Elsewhere | None = None
    is_elsewhere: bool = False

    def __post_init__(self) -> None:
        if self._available < 2:
            stream = self.work.calibration
            raise BenchError(
                f"{stream.name}: has {stream.tokens:,} tokens; choosing types takes two windows of {PROBE_WINDOW} at least, "
                "give a longer --calibration text"
            )

    @property
    def _available(self) -> int:
        """Windows of the text to probe on."""
        return self.work.calibration.tokens // PROBE_WINDOW

    @property
    def probe_windows(self) -> tuple[int, ...]:
        """Windows that single tensors are probed on for a choice, at equal distances over the text; not more than half of them."""
        return self._spread(PROBE_WINDOWS)

    def shown_windows(self, asked: int | None = None) -> tuple[int, ...]:
        """Windows that single tensors are probed on to be shown. asked: how many, at equal distances over all of the text.

        Raises BenchError for more than it has.
        """
        if asked is None:
            return self._spread(SHOWN_WINDOWS)
        if asked > self._available:
            raise BenchError(
                f"--windows {asked}: {self.work.calibration.name} has {self._available} windows of {PROBE_WINDOW} tokens; give fewer, or a longer "
                "--calibration text"
            )
        return self._at_equal_distances(asked)

    def _spread(self, windows: int) -> tuple[int, ...]:
        return self._at_equal_distances(min(windows, self._available // 2))

    def _at_equal_distances(self, n: int) -> tuple[int, ...]:
        return tuple(int(self._available * (i + 0.5) / n) for i in range(n))

    @property
    def trial_windows(self) -> tuple[int, ...]:
        """Windows that whole assignments are tried on, within others than those."""
        others = [w for w in range(self._available) if w not in self.probe_windows]
        n = min(TRIAL_WINDOWS, len(others))
        spread = [others[int(len(others) * (i + 0.5) / n)] for i in range(n)]
        in_order = spread[::2] + spread[1::2]  # those of the first round at equal distances over the text, too
        return tuple(w * (PROBE_WINDOW // TRIAL_WINDOW) for w in in_order)

    @cached_property
    def origin(self) -> str:
        """Names all that quantized blocks depend on, beside tensor and type."""
        return self.work.origin(self.work.importance)

    @property
    def _importance(self) -> Content | None:
        matrix = self.work.importance
        return matrix.content if matrix else None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time measures a model: another would do the same again, and both slower."""
        if self.is_elsewhere:  # which is asked for what no other is
            yield
            return
        lock = FileLock(self._file("lock"))
        lock_file = Path(lock.lock_file)
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self.work.reporter.warn(f"waiting for another process that measures {self.work.reference.info.name}")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _check_room(self, setting: ProbeSetting) -> None:
        """Raise MeasurementError where memory or disk cannot hold what probing takes."""
        info, windows = self.work.reference.info, setting.windows
        logits = 4 * setting.window * info.vocabulary
        # the model, unmapped; logits of a window, twice; a tenth for the rest
        needed, available = 1.1 * info.n_bytes + 2 * logits, machine_memory().available
        if needed > available:
            raise MeasurementError(
                f"measuring the sensitivity of {info.name} takes {needed / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are "
                "available; free some, or leave out recipes with a size (DG-, auto@)"
            )
        free = shutil.disk_usage(self.work.executor.site.path(Content(name=self._logits))).free
        if len(windows) * logits > free:
            raise MeasurementError(
                f"{self.work.options.cache}: the reference's logits take {len(windows) * logits / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free; "
                "free some space or choose another directory with --cache"
            )

    @cached_property
    def _logits(self) -> str:
        """What names of the reference's logits begin with, which lie there until this process ends. (What a killed one leaves
        the next run removes.)"""
        path = self.work.executor.site.path(self.work.scratch(self.key))
        shutil.rmtree(path, ignore_errors=True)  # of a killed process that had this number
        path.mkdir(parents=True)
        atexit.register(shutil.rmtree, path, ignore_errors=True)
        return self.work.scratch(self.key).name

    @property
    def key(self) -> str:
        """Names what all that is measured here depends on, beside what is asked for."""
        windows = self.probe_windows, self.trial_windows
        parts = self.origin, self.work.calibration.key, PROBE_WINDOW, TRIAL_WINDOW, windows
        return short_hash(_VERSION, *parts, *self._device)

    @property
    def _device(self) -> list[str]:
        """What a device measures is its own."""
        offload = self.work.offload
        return [] if offload is None else [offload.model_dump_json()]

    def _kept(self, what: str, *parts: object) -> Content:
        """What is kept of measurements. what: as its name ends; parts: what it depends on beside model, matrix and engine."""
        stem = self.work.reference.path.stem
        return Content(name=f"sensitivity/{stem}-{short_hash(_VERSION, self.origin, *parts, *self._device)}.{what}")

    def _file(self, what: str) -> Path:
        return self.work.executor.site.path(self._kept(what))

    def errors(self, types: dict[str, tuple[str, ...]]) -> dict[str, dict[str, float]]:
        """Relative weighted errors (quantize/weight_error.py) of tensors in types."""
        with self._alone():
            return self._errors(types, self._file("errors.json"))

    def _errors(self, types: dict[str, tuple[str, ...]], path: Path) -> dict[str, dict[str, float]]:
        kept = read_checked(path, WeightErrorResult, self.work.reporter.warn)
        known = dict(kept.errors) if kept else {}
        missing = {n: tuple(t for t in wanted if t not in known.get(n, {})) for n, wanted in types.items()}
        missing = {n: wanted for n, wanted in missing.items() if wanted}
        if missing:
            job = WeightErrorJob(
                model=self.work.model,
                types=missing,
                importance=self._importance,
                threads=self.work.threads,
            )
            with self.work.reporter.steps("Weighted error of each tensor and type", 1) as steps:
                found = self.work.executor.do(job, steps.share).errors
            for name, of_types in found.items():
                known.setdefault(name, {}).update(of_types)
            write_checked(path, WeightErrorResult(errors=known))
        return known

    def divergences(
        self, assignments: Sequence[dict[str, str]], windows: tuple[int, ...], label: str, length: int = TRIAL_WINDOW
    ) -> list[NDArray[np.float64]]:
        """Mean KL divergence from the model as it is, in nats, by window: one array for each assignment of types, empty
        where the logits were not finite. length: tokens of a window."""
        with self._alone():
            setting = self._setting(windows, length)
            log = self.work.executor.site.path(setting.log)
            known = mended_log(log, self.work.reporter.warn)
            keys = [assignment_key(a) for a in assignments]
            missing = {k: a for k, a in zip(keys, assignments, strict=True) if k not in known}
            if missing and self.elsewhere is not None:
                self._probe_elsewhere(self.elsewhere, list(missing.values()), setting, label)
                known = read_log(log)
            elif missing:
                self._check_room(setting)
                job, n = ProbeJob(setting=setting, assignments=tuple(missing.values())), len(missing)
                with self.work.reporter.steps(label, n) as steps:
                    done = self._do(job, setting, lambda share: steps.share(share * n))
                self.work.tell_damaged(done.damaged)
                known = read_log(log)
        return [np.array(known[k].kl) for k in keys]

    def _probe_elsewhere(
        self, elsewhere: Elsewhere, assignments: list[dict[str, str]], setting: ProbeSetting, label: str
    ) -> None:
        """The same at other machines; what they measure goes on this one's log."""
        log = self.work.executor.site.path(setting.log)
        log.parent.mkdir(parents=True, exist_ok=True)
        with self.work.reporter.steps(label, len(assignments)) as steps, log.open("a", encoding="utf-8") as f:

            def keep(probed: Probed) -> None:
                f.write(log_line(log.name, probed))
                f.flush()
                steps.done()

            elsewhere.probe(assignments, setting.windows, setting.window, keep)

    def search(self, label: str, choice: Choice) -> SearchResult:
        """The assignment of least divergence on the trial windows (see search.py), found in one worker."""
        with self._alone():
            setting = self._setting(self.trial_windows, TRIAL_WINDOW)
            self._check_room(setting)
            mended_log(self.work.executor.site.path(setting.log), self.work.reporter.warn)
            job = SearchJob(
                setting=setting,
                first=min(FIRST_WINDOWS, len(setting.windows)),
                finalists=FINALISTS,
                **{name: getattr(choice, name) for name in Choice.model_fields},
            )
            with self.work.reporter.steps(label, 1) as steps:
                found = self._do(job, setting, steps.share)
            self.work.tell_damaged(found.damaged)
            return found

    def _do(self, job: Job[Answer], setting: ProbeSetting, share: Share) -> Answer:
        """Do a job; once more where logits of the reference were damaged meanwhile, which a worker makes again when it begins.
        What was measured before is on the log."""
        try:
            return self.work.executor.do(job, share)
        except BenchError:
            vocabulary, site = self.work.reference.info.vocabulary, self.work.executor.site
            kept = [ReferenceLogits(site.path(setting.logits_of(w)), vocabulary) for w in setting.windows]
            if all(logits.intact() for logits in kept if logits.path.exists()):
                raise
        return self.work.executor.do(job, share)

    def _setting(self, windows: tuple[int, ...], length: int) -> ProbeSetting:
        return ProbeSetting(
            model=self.work.model,
            stream=self.work.calibration.content,
            window=length,
            windows=windows,
            importance=self._importance,
            threads=self.work.threads,
            origin=self.origin,
            logits=self._logits,
            log=self._log(windows, length),
            offload=self.work.offload,
        )

    def _log(self, windows: tuple[int, ...], length: int) -> Content:
        """Where measurements on these windows are kept."""
        if self.is_elsewhere:
            return Content(name=f"{self._logits}/{short_hash(windows, length)}.probes.jsonl")
        return self._kept("probes.jsonl", self.work.calibration.key, length, windows)
