"""The sweep: reference and recipes, measured by every measure that is asked for, resumable at any point.

    model -> importance matrix -> choices -> one file for each recipe -> measures in turn -> records

The measures' own folders define the measurements. This module decides which files there are, and the order of the work that is
still to do. A run that stops anywhere has lost one measurement at most; recorded work is not done again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property

from bench.cluster.address import Address
from bench.cluster.building import build_elsewhere
from bench.cluster.digits import digits
from bench.cluster.importance import collect_elsewhere
from bench.cluster.opened import opened
from bench.cluster.parts import measure
from bench.cluster.probes import ProbesElsewhere
from bench.cluster.setup import marked, required, setup
from bench.cluster.sites import Sites
from bench.core.errors import BenchError, RecordsError
from bench.core.files import file_sha256
from bench.core.health import timing_readings
from bench.core.machine import this_machine
from bench.core.pace import Expected
from bench.core.progress import Reporter
from bench.measures.plan import File, Plan, Stage
from bench.measures.registry import all_measures, record_types
from bench.models.compared import compared_files
from bench.recipes.recipe import Recipe
from bench.records.identity import Identity, ImportanceIdentity, TextIdentity, Until, utc_now
from bench.records.record import StageRecord
from bench.records.run import FILE_NAME, Run
from bench.records.store import RunStore
from bench.sweep.alone import without_recipes
from bench.sweep.build import build_files, resolve_recipes
from bench.sweep.forecast import BUILDING, CHOICES, IMPORTANCE, MAKING, Shape, forecast
from bench.sweep.identity import compared_record, default_directory, model_identity, reference_record, versions
from bench.sweep.importance import record_importance
from bench.sweep.outline import DEVICE_PACE, Outline, directories, is_here, outline, refuse, warn_of_memory
from bench.texts import prompts
from bench.workbench.asked import asked_recipes
from bench.workbench.checks import check_importance, check_texts, check_until, check_window, check_windows
from bench.workbench.devices import check_device, known_pace
from bench.workbench.options import Options
from bench.workbench.work import Work

#: Seconds for which other load is watched before a run.
_WATCHED = 0.2


def _left(done: int, total: int) -> float:
    """What of a stage is still to be done, as a share."""
    return 1 - done / max(total, 1)


class Sweep:
    """A run's plan and its execution. Raises BenchError for anything that makes the run impossible, before it begins.

    only: names of measures, where not all that is asked for is to be measured; tell: whether to tell the plan.
    """

    def __init__(
        self, options: Options, reporter: Reporter, only: Collection[str] | None = None, *, tell: bool = True
    ) -> None:
        self.started = utc_now()
        options = without_recipes(options, reporter)
        self.work = work = Work(options, reporter)
        self.recipes = asked_recipes(options)
        if options.cluster is not None:
            Address.parse(options.cluster)  # refused here, if it is none
        check_device(options)
        check_importance(options, self.recipes)
        until = None if options.until is None else Until.parse(options.until)
        self.text = work.text(options.most_windows)
        check_texts(options, self.text, self.recipes)
        threads, library = work.threads, work.library
        self.outline = outline(options, self.recipes, self.text.name, threads, self.text.windows)
        warn_of_memory(self.outline.forecast, reporter)
        if self.outline.forecast.download:  # of models that are here everything may be on record, which needs no room
            refuse(self.outline.forecast, directories(options))
        self._told = not tell
        if not is_here(options):  # before it takes its time to fetch or convert a model
            self._tell(self.outline)
        with work.scratch_files():
            check_window(work.reference.info, options.window)
            stream = work.stream(self.text.source)
            windows = check_windows(stream, options.window, options.windows, options.most_windows)
            check_until(until, windows)
            self.identity = Identity(
                model=model_identity(work.reference),
                prompts=TextIdentity(name=self.text.name, sha256=self.text.sha256),
                importance=self._importance_identity(),
                windows=windows,
                settings=work.settings,
                library=library,
                machine=this_machine(),
                until=until,
                speeds=not options.no_speed,
            )
            found = compared_files(options.compare, work.reference, options.cache, reporter)
        self.compared = {c.name: c for c in found}
        self.plan = Plan(
            work=work,
            names=tuple(self._names()),
            reference=self.reference_label,
            alone=frozenset(c.name for c in self.compared.values() if c.perplexity_only),
            stream=stream,
            windows=windows,
            sitting=self.started,
        )
        self._essential: list[Stage] = []
        self._measures: dict[str, Stage] = {}
        self._recipes: dict[str, Recipe] = {}
        self._mark = ""
        self.stages = self._stages(only)
        self.directory = options.out or default_directory(self.identity)

    def _stages(self, only: Collection[str] | None) -> list[Stage]:
        asked, stages = self.work.options.measures, []
        for m in all_measures():
            if only is not None and m.name not in only:
                continue
            stage = m.stage(self.plan, asked.get(m.name, m.options() if m.options else None))
            if stage is not None:
                stages.append(stage)
                self._measures[m.name] = stage
                if m.essential:
                    self._essential.append(stage)
        return stages

    def _tell(self, plan: Outline) -> None:
        """Tell what the run is going to do, once."""
        if not self._told:
            plan.tell(self.work.reporter)
        self._told = True

    def outlined(self, run: Run | None) -> Outline:
        """The plan with all that is known by now. run: what is on record of it."""
        done, total = (0, 0) if run is None else map(sum, zip(*(s.progress(run) for s in self.stages), strict=True))
        pending = {r.name for r in self.recipes} if run is None else self.pending(run)
        essential = [s.progress(run) for s in self._essential] if run else []
        left = 1 - sum(d for d, _ in essential) / max(sum(t for _, t in essential), 1)
        options, info = self.work.options, self.work.reference.info
        to_build = [r for r in self.recipes if r.name in pending and r.name != self.reference_label]
        return replace(
            self.outline,
            windows=self.plan.windows,
            unforeseen=tuple(u for u in self.outline.unforeseen if u != DEVICE_PACE),
            forecast=forecast(
                replace(options, windows=self.plan.windows),
                self.recipes,
                self.work.threads,
                Shape.of_file(info),
                to_build=to_build,
                share=left if self._essential else 0.0,
                shares={s.title: _left(*s.progress(run)) for s in self.stages} if run else None,
                compared=len(self.compared),
                device=known_pace(options, self.work.reporter.warn),
            ),
            directory=str(self.directory),
            is_known=True,
            on_record=(done, total),
        )

    def _expected(self, plan: Outline, run: Run) -> dict[str, Expected]:
        """What is done in this sweep, stage by stage, and what each is expected to take."""
        foreseen = plan.forecast.stages
        making = {name: e for name, e in foreseen.items() if name in MAKING}
        return making | {s.title: foreseen.get(s.title, Expected()) for s in self.stages if s.pending(run)}

    def _importance_identity(self) -> ImportanceIdentity | None:
        o = self.work.options
        if o.no_imatrix:
            return None
        if o.imatrix is not None:
            _ = self.work.importance  # refused here, before anything is computed, if it is of another model
            digest = file_sha256(o.imatrix)
            return ImportanceIdentity(
                source="file", name=o.imatrix.name, sha256=digest, chunks=None, prior_weight=o.prior_weight
            )
        name, digest = prompts.identify(o.calibration or prompts.CALIBRATION)
        return ImportanceIdentity(
            source="collected", name=name, sha256=digest, chunks=o.calibration_chunks, prior_weight=o.prior_weight
        )

    @cached_property
    def reference_label(self) -> str:
        return next(iter(self.work.reference.info.weights_by_type))

    def _names(self) -> Iterator[str]:
        """What this sweep measures: the reference, the recipes, the third-party files."""
        yield self.reference_label
        yield from (r.name for r in self.recipes if r.name != self.reference_label)
        yield from self.compared

    def execute(self) -> Run:
        """Do what is not on record yet. Every measurement is on disk before the next begins."""
        told = versions(self.work.library) | self.text.source_version
        places = directories(self.work.options)
        is_new = not (self.directory / FILE_NAME).exists()
        if is_new:  # a run that is refused leaves nothing behind
            refuse(self.outlined(None).forecast, places)
        with ExitStack() as stack:
            sites = stack.enter_context(self._sites()) if is_new else None
            store = stack.enter_context(RunStore(self.directory, self.identity, told, record_types()))
            if store.repaired:
                self.work.reporter.warn(store.repaired)
            pending = self.pending(store.run)
            if not pending:
                return store.run
            plan = self.outlined(store.run)
            refuse(plan.forecast, places)
            self._tell(plan)
            if store.run.files:
                done, total = plan.on_record
                self.work.reporter.say(f"Continuing {self.directory}: {done} of {total} measurements are on record")
            sites = sites if is_new else stack.enter_context(self._sites())
            with self.work.scratch_files():
                for stage in self.stages:
                    stage.check_room()
                with self.work.reporter.stages(self._expected(plan, store.run)):
                    self._work_off(store, pending, sites)
            return store.run

    @contextmanager
    def _sites(self) -> Iterator[Sites | None]:
        """The machines that measure, before anything is computed; None for this one alone."""
        asked = self.work.options.cluster
        if asked is None:
            yield None
            return
        cache = self.work.options.cache
        with marked(cache) as self._mark, opened(asked, self.work.threads, cache) as connection:
            sites = Sites(connection, self.work.reporter, required(self.work))
            sites.gather()
            self._hand(sites, early=True)
            yield sites

    def _work_off(self, store: RunStore, pending: set[str], sites: Sites | None) -> None:
        """Build what is missing, and measure it stage by stage."""
        files = self._build(store, pending, sites)
        for stage in self.stages:
            if stage.pending(store.run) & files.keys():
                self._measure(stage, store, files, sites)

    def _hand(self, sites: Sites, *, early: bool = False) -> None:
        """Hand the sites what is known by now. early: before the importance matrix is."""
        known = self.plan, self.identity, self.text, self._recipes, self.compared, self._digits, self._mark
        sites.begin(setup(*known, early=early))

    @cached_property
    def _digits(self) -> tuple[str, str]:
        """Of what scores, and of the CPU where that is a device."""
        work, stream = self.work, self.plan.stream
        return digits(work, stream), digits(work, stream, on_cpu=True) if work.offload else ""

    def _measure(self, stage: Stage, store: RunStore, files: dict[str, File], sites: Sites | None) -> None:
        """Let a stage measure, here or at sites. One that is impossible costs itself only and is told; without an essential one the run ends."""
        try:
            with self._on_record(store, stage.title):
                if sites is None:
                    stage.measure(store, files)
                else:
                    measure(sites, stage, self._name(stage), store, essential=stage in self._essential)
        except RecordsError:
            raise
        except BenchError as e:
            if stage in self._essential:
                raise
            self.work.reporter.warn(str(e))

    def _name(self, stage: Stage) -> str:
        """Of the measure that a stage is of."""
        return next(name for name, found in self._measures.items() if found is stage)

    def pending(self, run: Run) -> set[str]:
        """Files of which something that is asked for is not on record."""
        unmeasured = {name for stage in self.stages for name in stage.pending(run)}
        return unmeasured | set(self._changed(run)) | self._replaced(run)

    def has_failed(self, run: Run) -> bool:
        """Whether something that was asked for is missing, or failed."""
        return bool(self.pending(run)) or any(f.recipe in self.plan.names for f in run.failures)

    def _replaced(self, run: Run) -> set[str]:
        """Third-party files that have another content now than the ones on record under their names."""
        return {n for n, c in self.compared.items() if n in run.files and run.files[n].sha256 != c.file.sha256}

    def _changed(self, run: Run) -> list[str]:
        """Recipes on record that have other rules now, or could not be built since."""
        failed = {f.recipe for f in run.failures if f.window is None}
        return [
            r.name
            for r in self.recipes
            if r.name in run.files and (r.name in failed or run.files[r.name].rules not in (None, r.fingerprint))
        ]

    @contextmanager
    def _on_record(self, store: RunStore, stage: str, *, first: bool = False) -> Iterator[None]:
        """Put on record when a stage begins and ends. first: of this sitting, which began before there was a record to write to."""
        run = store.run.header.id
        began = StageRecord(run=run, stage=stage, event="began", sitting=self.started)
        if first:
            told = {"time": self.started, "names": self.plan.names, "machine": self._machine()}
            began = began.model_copy(update=told)
        store.append(began)
        try:
            with self.work.reporter.stage(stage):
                yield
        finally:
            store.append(StageRecord(run=run, stage=stage, event="ended", sitting=self.started))

    def _machine(self) -> dict[str, str]:
        """What is read of the machine, for the records; what spoils timings is told in one line. Nothing where none are taken."""
        if not self.identity.speeds:
            return {}
        found = timing_readings(watched=_WATCHED)
        if wrong := [f"{r.name} {r.value}" for r in found if r.remedy]:
            self.work.reporter.say(f"Timings may suffer: {', '.join(wrong)}; `doctor` says what to do")
        return {r.name: r.value for r in found}

    def _build(self, store: RunStore, pending: set[str], sites: Sites | None) -> dict[str, File]:
        """Files of what is still to be measured, by name."""
        work, executor = self.work, self.work.executor
        with self._on_record(store, "Preparing", first=True):
            if self.reference_label not in store.run.files:
                store.append(reference_record(store.run.header.id, self.reference_label, work.reference))
        recipes = [r for r in self.recipes if r.name in pending and r.name != self.reference_label]
        with self._on_record(store, IMPORTANCE):
            if sites is not None:
                collect_elsewhere(sites, work)
            record_importance(work, recipes, store)
        with self._on_record(store, CHOICES):
            elsewhere = None
            if sites is not None and any(r.size is not None for r in recipes):
                self._hand(sites)
                elsewhere = ProbesElsewhere(sites)
            resolved = resolve_recipes(work, recipes, store, elsewhere)
            self._recipes = {name: found.recipe for name, found in resolved.items()}
        with self._on_record(store, BUILDING):
            if sites is not None:
                self._hand(sites)
                build_elsewhere(sites, self._recipes)
            paths = build_files(work, resolved, self._changed(store.run), store)
        for name, compared in self.compared.items():
            on_record = store.run.files.get(name)
            if on_record is not None and on_record.sha256 != compared.file.sha256:
                work.reporter.warn(
                    f"{name}: is another file than the one on record, whose place in the tables it takes"
                )
            if on_record is None or on_record.sha256 != compared.file.sha256:
                store.append(compared_record(store.run.header.id, compared))
        others = {name: c.file.path for name, c in self.compared.items()}
        everything = {self.reference_label: work.reference.path} | paths | others
        return {n: File(p, executor.hold(p, store.run.files[n].sha256)) for n, p in everything.items()}
