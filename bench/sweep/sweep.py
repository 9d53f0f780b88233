"""The sweep: reference and recipes, scored and timed window by window, resumable at any point.

    model -> importance matrix -> one file for each recipe -> passes -> records

The stages are modules of their own: build_stage.py, passes.py, problem_stage.py, hidden_states.py, samples.py. A run that
stops anywhere has lost one measurement at most; what is on record is not done again.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.machine import cpus_for, this_machine
from bench.core.progress import Reporter
from bench.execute.jobs import Settings
from bench.gguf_files.shards import whole_bytes
from bench.measures.problems.stage import pending_batches, prepare, solve_problems
from bench.measures.propagation.stage import HiddenStates, compare_hidden_states
from bench.measures.samples.stage import Samples, sample_prompts, write_samples
from bench.measures.windows.passes import Passes
from bench.models.compared import compared_files
from bench.models.hub import hub_cache
from bench.models.reference import reference
from bench.recipes.recipe import find_recipes
from bench.records.run import (
    Identity,
    ImportanceIdentity,
    Run,
    RunStore,
    TextIdentity,
    utc_now,
)
from bench.sweep.build import BuildStage, build_recipes
from bench.sweep.forecast import forecast, tell
from bench.sweep.identity import compared_record, default_directory, model_identity, reference_record, versions
from bench.texts import prompts
from bench.workbench import files
from bench.workbench.options import (
    DEFAULT_WINDOWS,
    Options,
    check_importance,
    check_library,
    check_texts,
    check_threads,
    check_window,
    check_windows,
    importance_file,
    scored_text,
)

#: The default model's file.
_DEFAULT_BYTES = 384_000_000


class Sweep:
    """A run's plan and its execution. Raises BenchError for anything that makes the run impossible, before it begins."""

    def __init__(self, options: Options, reporter: Reporter) -> None:
        self.options, self.reporter = options, reporter
        self.recipes = find_recipes(options.recipes)
        check_importance(options, self.recipes)
        self.text = scored_text(
            options.text, options.dataset, options.window, options.windows or DEFAULT_WINDOWS, options.cache, reporter
        )
        check_texts(options, self.text, self.recipes)
        self.threads = check_threads(options.threads)
        self.cpus = cpus_for(self.threads)
        self.library = check_library(options.isa)
        self._forecast()
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
        self.stream = files.token_stream(self.reference.info, self.text.source, options.cache)
        self.windows = check_windows(self.stream, options.window, options.windows)
        self.identity = Identity(
            model=model_identity(self.reference),
            prompts=TextIdentity(name=self.text.name, sha256=self.text.sha256),
            importance=self._importance_identity(),
            windows=self.windows,
            settings=self.settings,
            library=self.library,
            machine=this_machine(),
        )
        self.compared = {c.name: c for c in compared_files(options.compare, self.reference, options.cache, reporter)}
        self.problems = prepare(
            options.kinds, self.reference, self.library, options.assistant_only, options.cache, reporter
        )
        self.directory = options.out or default_directory(self.identity)
        self.started = utc_now()

    def _forecast(self) -> None:
        """Tell what the run takes, before anything of it is fetched or built."""
        o = self.options
        local = Path(o.model) if o.model and not o.model.startswith("hf:") else None
        if (o.model is None and not o.compare) or (local and not local.is_file()):
            return  # the default model is small; what is no file is told of when it is read
        known = _DEFAULT_BYTES if o.model is None else whole_bytes(local) if local else None
        tell(forecast(o, self.recipes, self.threads, known), (o.cache, hub_cache()), self.reporter)

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
        """What this sweep measures: the reference, the recipes, the files of others."""
        built = (r.name for r in self.recipes if r.name != self.reference_label)
        return [self.reference_label, *built, *self.compared]

    def execute(self, *, samples_only: bool = False) -> Run:
        """Do what is not on record yet. Every measurement is on disk before the next begins."""
        with RunStore(self.directory, self.identity, versions(self.library) | self.text.source_version) as store:
            if store.repaired:
                self.reporter.warn(store.repaired)
            pending = self.samples_pending(store.run) if samples_only else self.pending(store.run)
            if not pending:
                return store.run
            if store.run.files:
                left = sum(map(len, self.passes.pending(store.run, self.names).values()))
                total = len(self.names) * self.windows
                self.reporter.say(f"Continuing {self.directory}: {total - left} of {total} measurements are on record")
            if not samples_only:
                self.passes.check_room()
            paths = self._build(store, pending)
            if not samples_only:
                self._measure(store, paths)
            if self.samples:
                asked = {n: paths[n] for n in self.samples.pending(store.run, self.names) if n in paths}
                write_samples(self.samples, store, asked, threads=self.threads, cpus=self.cpus, reporter=self.reporter)
            return store.run

    def pending(self, run: Run) -> set[str]:
        """Files of which something that is asked for is not on record."""
        unmeasured = {name for names in self.passes.pending(run, self.names).values() for name in names}
        return unmeasured | set(self._changed(run)) | self._replaced(run) | self.extras_pending(run)

    def extras_pending(self, run: Run) -> set[str]:
        """Files of which something is not on record that is asked for beside the passes: problems, hidden states, samples."""
        stages = [pending_batches(p, run, self.names, self._alone, self.reference_label) for p in self.problems]
        if self.options.propagation:
            stages.append(self.states.pending(run))
        return {n for stage in stages for names in stage.values() for n in names} | self.samples_pending(run)

    def samples_pending(self, run: Run) -> set[str]:
        if not self.samples:
            return set()
        return set(self.samples.pending(run, self.names)) | set(self._changed(run)) | self._replaced(run)

    def _replaced(self, run: Run) -> set[str]:
        """Files of others that have another content now than the ones on record under their names."""
        return {n for n, c in self.compared.items() if n in run.files and run.files[n].sha256 != c.file.sha256}

    def _changed(self, run: Run) -> list[str]:
        """Recipes on record that have other rules now, or could not be built since."""
        failed = {f.recipe for f in run.failures if f.window is None}
        return [
            r.name
            for r in self.recipes
            if r.name in run.files and (r.name in failed or run.files[r.name].rules not in (None, r.fingerprint))
        ]

    def _build(self, store: RunStore, pending: set[str]) -> dict[str, Path]:
        """Files of what is still to be measured, by name."""
        if self.reference_label not in store.run.files:
            store.append(reference_record(store.run.header.id, self.reference_label, self.reference))
        recipes = [r for r in self.recipes if r.name in pending and r.name != self.reference_label]
        importance = importance_file(self.options, self.reference, self.library, self.threads, self.cpus, self.reporter)
        stage = BuildStage(self.options, self.reference, importance, self.library, self.threads, tuple(self.cpus))
        paths = build_recipes(stage, recipes, self._changed(store.run), store, self.reporter)
        for name, compared in self.compared.items():
            on_record = store.run.files.get(name)
            if on_record is not None and on_record.sha256 != compared.file.sha256:
                self.reporter.warn(
                    f"{name}: is another file than the one on record, whose place in the tables it takes"
                )
            if on_record is None or on_record.sha256 != compared.file.sha256:
                store.append(compared_record(store.run.header.id, compared))
        others = {name: c.file.path for name, c in self.compared.items()}
        return {self.reference_label: self.reference.path} | paths | others

    def _measure(self, store: RunStore, paths: dict[str, Path]) -> None:
        """The passes, then what is asked for beside them."""
        self.passes.measure(store, paths)
        for problems in self.problems:
            solve_problems(
                problems,
                store,
                paths,
                self._alone,
                self.reference_label,
                threads=self.threads,
                cpus=self.cpus,
                scratch=self._scratch,
                vocabulary=self.reference.info.vocabulary,
                reporter=self.reporter,
            )
        if self.options.propagation:
            try:
                compare_hidden_states(self.states, store, paths, self._scratch, self.reporter)
            except BenchError as e:  # what the passes measured gets its tables all the same
                self.reporter.warn(str(e))

    @cached_property
    def passes(self) -> Passes:
        return Passes(
            reference_label=self.reference_label,
            reference=self.reference,
            alone=self._alone,
            stream=self.stream.path,
            windows=self.windows,
            settings=self.settings,
            threads=self.threads,
            cpus=tuple(self.cpus),
            library=self.library,
            cpu=self.identity.machine.cpu,
            sitting=self.started,
            scratch=self._scratch,
            reporter=self.reporter,
        )

    @property
    def _alone(self) -> frozenset[str]:
        """Files that are not compared with the reference token by token."""
        return frozenset(c.name for c in self.compared.values() if c.perplexity_only)

    @cached_property
    def samples(self) -> Samples | None:
        """The completions that are asked for, if any."""
        o = self.options
        return Samples(sample_prompts(o.prompts), o.samples) if o.samples else None

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
