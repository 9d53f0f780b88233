"""The sweep: reference and recipes, scored and timed window by window, resumable at any point.

    model -> importance matrix -> one file for each recipe -> passes -> records

A pass visits every recipe once, each in a fresh process, with one window of the text: it is scored and timed in the same
decode. So the recipes' timings are interleaved as closely as can be, every ratio is formed within a pass, and a run that
stops anywhere has lost one window of one recipe at most. What is on record is not done again.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from functools import cached_property
from pathlib import Path

import psutil

from bench import files, prompts
from bench.build_stage import BuildStage, build_recipes
from bench.errors import BenchError, MeasurementError
from bench.hidden_states import HiddenStates, compare_hidden_states
from bench.identity import default_directory, model_identity, reference_record, versions
from bench.jobs import MeasureJob, MeasureResult, Settings
from bench.machine import cpus_for, this_machine
from bench.models import reference
from bench.options import (
    Options,
    check_importance,
    check_library,
    check_texts,
    check_threads,
    check_window,
    check_windows,
    importance_file,
)
from bench.process import run_job
from bench.progress import Reporter
from bench.quality import ReferenceLogits
from bench.recipes import Recipe, find_recipes
from bench.results import (
    FailureRecord,
    FloorRecord,
    Identity,
    ImportanceIdentity,
    Run,
    RunStore,
    TextIdentity,
    WindowRecord,
    utc_now,
)

#: A recipe whose measurements fail this often in one sitting is given up until the next.
_FAILURES_TO_GIVE_UP = 2


class Sweep:
    """A run's plan and its execution. Raises BenchError for anything that makes the run impossible, before it begins."""

    def __init__(self, options: Options, reporter: Reporter) -> None:
        self.options, self.reporter = options, reporter
        self.recipes = find_recipes(options.recipes)
        check_importance(options, self.recipes)
        check_texts(options, self.recipes)
        self.threads = check_threads(options.threads)
        self.cpus = cpus_for(self.threads)
        self.library = check_library(options.isa)
        self.reference = reference(
            options.model,
            options.cache,
            allow_quantized=options.allow_quantized,
            widen_to_256=options.widen,
            reporter=reporter,
        )
        self.settings = Settings(
            window=options.window,
            batch=options.window,
            ubatch=min(512, options.window),
            threads=self.threads,
            generate=min(options.generate, options.window),
        )
        check_window(self.reference.info, options.window)
        self.stream = files.token_stream(self.reference.info, options.text or prompts.EVALUATION, options.cache)
        self.windows = check_windows(self.stream, options.window, options.windows)
        self.identity = Identity(
            model=model_identity(self.reference),
            prompts=TextIdentity(
                **dict(zip(("name", "sha256"), prompts.identify(options.text or prompts.EVALUATION), strict=True))
            ),
            importance=self._importance_identity(),
            windows=self.windows,
            settings=self.settings,
            library=self.library,
            machine=this_machine(),
        )
        self.directory = options.out or default_directory(self.identity)
        self.started = utc_now()

    def _importance_identity(self) -> ImportanceIdentity | None:
        o = self.options
        if o.no_imatrix:
            return None
        if o.imatrix is not None:
            return ImportanceIdentity(
                source="file", name=o.imatrix.name, sha256=files.importance_file_hash(o.imatrix), chunks=None
            )
        name, digest = prompts.identify(o.calibration or prompts.CALIBRATION)
        return ImportanceIdentity(source="collected", name=name, sha256=digest, chunks=o.calibration_chunks)

    @cached_property
    def reference_label(self) -> str:
        return next(iter(self.reference.info.weights_by_type))

    @property
    def names(self) -> list[str]:
        """What this sweep measures: the reference and the recipes."""
        return [self.reference_label, *(r.name for r in self.recipes if r.name != self.reference_label)]

    def execute(self) -> Run:
        """Do what is not on record yet. Every measurement is on disk before the next begins."""
        with RunStore(self.directory, self.identity, versions(self.library)) as store:
            if store.repaired:
                self.reporter.warn(store.repaired)
            recipes = [r for r in self.recipes if r.name != self.reference_label]
            names = self.names
            done = sum(self._has(store.run, n, w) for n in names for w in range(self.windows))
            states = self.states.pending(store.run) if self.options.propagation else {}
            if done == len(names) * self.windows and not self._changed(store.run) and not states:
                return store.run
            if done or store.run.files:
                self.reporter.say(
                    f"Continuing {self.directory}: {done} of {len(names) * self.windows} measurements are on record"
                )
            self._check_room_for(self._logits)
            paths = self._build(store, recipes, states)
            self._passes(store, paths)
            if self.options.propagation:
                try:
                    compare_hidden_states(self.states, store, paths, self._scratch, self.reporter)
                except BenchError as e:  # what the passes measured gets its tables all the same
                    self.reporter.warn(str(e))
            return store.run

    def _changed(self, run: Run) -> list[str]:
        """Recipes on record that have other rules now, or could not be built since."""
        failed = {f.recipe for f in run.failures if f.window is None}
        return [
            r.name
            for r in self.recipes
            if r.name in run.files and (r.name in failed or run.files[r.name].rules not in (None, r.fingerprint))
        ]

    def _build(self, store: RunStore, recipes: list[Recipe], states: dict[int, list[str]]) -> dict[str, Path]:
        """Files of what is still to be measured, by name. states: recipes whose hidden states are pending, by window."""
        if self.reference_label not in store.run.files:
            store.append(reference_record(store.run.header.id, self.reference_label, self.reference))
        importance = importance_file(self.options, self.reference, self.library, self.threads, self.cpus, self.reporter)
        changed = self._changed(store.run)
        wanted = {*changed, *(name for names in states.values() for name in names)}
        pending = [
            r
            for r in recipes
            if r.name in wanted or not all(self._has(store.run, r.name, w) for w in range(self.windows))
        ]
        stage = BuildStage(self.options, self.reference, importance, self.library, self.threads, tuple(self.cpus))
        paths = build_recipes(stage, pending, changed, store, self.reporter)
        return {self.reference_label: self.reference.path} | paths

    def _passes(self, store: RunStore, paths: dict[str, Path]) -> None:
        """Window by window: the reference first, then every recipe against the reference's logits for that window.

        The logits of one window lie on disk at a time, as float32, and are gone when its pass ends.
        """
        pending = {w: self._order(w, [n for n in paths if not self._has(store.run, n, w)]) for w in range(self.windows)}
        failures: Counter[str] = Counter()
        scratch = self._scratch
        for left_behind in scratch.parent.glob("*"):  # by runs that were killed
            if not (left_behind.name.isdigit() and psutil.pid_exists(int(left_behind.name))):
                shutil.rmtree(left_behind, ignore_errors=True)
        logits = self._logits
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
            shutil.rmtree(scratch, ignore_errors=True)

    @property
    def states(self) -> HiddenStates:
        """The comparison of hidden states, if it is asked for."""
        recipes = tuple(n for n in self.names if n != self.reference_label)
        return HiddenStates(
            self.reference_label, recipes, self.stream.path, self.windows, self.settings, tuple(self.cpus)
        )

    @property
    def _scratch(self) -> Path:
        """Of this process alone: the same run may be under way elsewhere."""
        return self.options.cache.absolute() / "scratch" / str(os.getpid())

    @property
    def _logits(self) -> ReferenceLogits:
        return ReferenceLogits(self._scratch / "window.logits", self.reference.info.vocabulary)

    def _has(self, run: Run, name: str, window: int) -> bool:
        """Whether a window is on record in full: a recipe's with the comparison, which it lacks if the reference failed."""
        found = run.windows.get(name, {}).get(window)
        compared = found is not None and found.result.tokens is not None and found.result.tokens.kl is not None
        return found is not None and (compared or name == self.reference_label)

    def _order(self, window: int, names: list[str]) -> list[str]:
        """The reference first, then the recipes, every other pass backwards: what a place in the order does to a timing
        cancels out."""
        recipes = [n for n in names if n != self.reference_label]
        return [n for n in names if n == self.reference_label] + (recipes[::-1] if window % 2 else recipes)

    def _measure(self, store: RunStore, name: str, path: Path, window: int, logits: ReferenceLogits) -> bool:
        """Measure one window of one file and put it, or its failure, on record. Returns whether it went well."""
        is_reference = name == self.reference_label
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        job = MeasureJob(
            model=path,
            stream=self.stream.path,
            windows=(window,),
            settings=self.settings,
            write_logits=logits.path.absolute() if is_reference else None,
            # none when the reference failed: the recipe is scored all the same
            reference_logits=logits.path.absolute() if not is_reference and logits.path.exists() else None,
        )
        run = store.run.header.id
        try:
            measured = run_job(job, MeasureResult, cpus=self.cpus)
            if measured.library != self.library:
                raise MeasurementError("another build of the engine was installed during the run")
        except MeasurementError as e:
            store.append(FailureRecord(run=run, recipe=name, window=window, reason=str(e)))
            self.reporter.warn(f"{name}, window {window}: {e}")
            return False
        record = WindowRecord(
            run=run,
            recipe=name,
            sha256=store.run.files[name].sha256,
            result=measured.windows[0],
            isa=measured.library.isa,
            cpu=self.identity.machine.cpu,
            threads=self.threads,
            cpus=tuple(self.cpus),
            load=load,
            sitting=self.started,
        )
        store.append(record)
        return True

    def _measure_floor(self, store: RunStore, window: int, logits: ReferenceLogits) -> None:
        """The reference against itself with half the threads and a quarter of the batch: what rounding alone does."""
        threads, ubatch = max(self.threads // 2, 1), max(self.settings.ubatch // 4, 1)
        job = MeasureJob(
            model=self.reference.path,
            stream=self.stream.path,
            windows=(window,),
            settings=self.settings.model_copy(update={"threads": threads, "ubatch": ubatch, "generate": 0}),
            reference_logits=logits.path.absolute(),
        )
        try:
            [result] = run_job(job, MeasureResult, cpus=self.cpus).windows
        except MeasurementError as e:
            self.reporter.warn(f"the measurement floor was not measured: {e}")
        else:
            store.append(FloorRecord(run=store.run.header.id, threads=threads, ubatch=ubatch, result=result))

    def _reference_again(self, window: int, logits: ReferenceLogits) -> None:
        """The reference's logits for a window that is on record, for a run that stopped within the pass."""
        settings = self.settings.model_copy(update={"generate": 0})
        job = MeasureJob(
            model=self.reference.path,
            stream=self.stream.path,
            windows=(window,),
            settings=settings,
            write_logits=logits.path.absolute(),
        )
        try:
            run_job(job, MeasureResult, cpus=self.cpus)
        except MeasurementError as e:
            self.reporter.warn(f"window {window} is scored without a comparison with the reference: {e}")

    def _check_room_for(self, logits: ReferenceLogits) -> None:
        """Say how much room the reference's logits take, and refuse to begin where it is not there."""
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
        memory = psutil.virtual_memory()
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
