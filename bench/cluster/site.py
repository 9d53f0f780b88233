"""A site: a machine that measures parts of a run with its own cache.

It is handed what the run is about once (Setup), makes what it lacks, checks it by hash, and then measures part by part: each as a
small run of its own, whose records the coordinator takes over. So every measure works at a site as it does at home.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter

from bench.choose.jobs import Probed, assignment_key
from bench.choose.prober import Prober
from bench.cluster.digits import digits
from bench.cluster.itself import devices_here
from bench.cluster.protocol import (
    BuildRequest,
    ModelFile,
    PartAnswer,
    PartRequest,
    PrepareAnswer,
    ProbeAnswer,
    ProbeRequest,
    SearchAnswer,
    SearchRequest,
    Setup,
    SumsAnswer,
    SumsRequest,
    UnitAnswer,
    setup_key,
)
from bench.cluster.sites import has_device
from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.core.machine import this_machine
from bench.core.progress import Reporter
from bench.engine.jobs import Device
from bench.measures.plan import File, Part, Plan
from bench.measures.registry import all_measures, record_types
from bench.models.compared import compared_files
from bench.quantize.jobs import ImportancePartJob
from bench.records.identity import Identity
from bench.records.record import FailureRecord, FileRecord
from bench.records.run import Run, parsed
from bench.records.store import RunStore
from bench.workbench.kept import Stream
from bench.workbench.options import Options
from bench.workbench.work import Work


class _Heard(Reporter):
    """A reporter that keeps warnings for the coordinator and tells the rest in this site's own log."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        super().warn(text)

    def taken(self) -> tuple[str, ...]:
        """The warnings since the last time."""
        told, self.warnings = tuple(self.warnings), []
        return told


@dataclass
class Site:
    """This machine. name: as records have it; cache: where its files lie; models: directory in which models are looked for by
    the name of their file, None for no such directory."""

    name: str
    cache: Path
    models: Path | None = None
    #: Digits that it has computed itself.
    agreed: set[str] = field(default_factory=set)
    _prepared: dict[str, _Prepared] = field(default_factory=dict)

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        """What it can score on beside its CPU, asked once, so that it does what it has said."""
        return devices_here(self.cache)

    def prepare(self, setup: Setup) -> PrepareAnswer:
        """Get all that the parts of a run need. Raises BenchError for what this site cannot have, and for scores that differ."""
        key = setup_key(setup)
        if key not in self._prepared:
            self._prepared.clear()  # of an earlier run: one coordinator at a time
            self._prepared[key] = _Prepared.of(self, setup)
        prepared = self._prepared[key]
        shares = (self.cache / setup.mark).is_file()
        if setup.builds and not shares:
            prepared.build_all()
        return PrepareAnswer(warnings=prepared.heard.taken(), shares=shares)

    def measure(self, request: PartRequest) -> UnitAnswer:
        """Measure a part of a stage. Raises BenchError for what makes all of it impossible here."""
        return self._asked(request.setup, lambda prepared: prepared.measure(request))

    def probe(self, request: ProbeRequest) -> UnitAnswer:
        """Measure assignments of types. Raises BenchError where that is impossible here."""
        return self._asked(request.setup, lambda prepared: prepared.probe(request))

    def search(self, request: SearchRequest) -> UnitAnswer:
        """Make a choice. Raises BenchError where that is impossible here."""
        return self._asked(request.setup, lambda prepared: prepared.search(request))

    def build(self, request: BuildRequest) -> UnitAnswer:
        """Build a file into the cache. Raises BenchError where that is impossible here."""
        return self._asked(request.setup, lambda prepared: prepared.build(request))

    def sums(self, request: SumsRequest) -> UnitAnswer:
        """Sum a part of the calibration text. Raises BenchError where that is impossible here."""
        return self._asked(request.setup, lambda prepared: prepared.sums(request))

    def _asked(self, setup: str, do: Callable[[_Prepared], UnitAnswer]) -> UnitAnswer:
        prepared = self._prepared.get(setup)
        if prepared is None:
            return UnitAnswer(unknown=True)
        return do(prepared).model_copy(update={"warnings": prepared.heard.taken()})

    def model(self, wanted: ModelFile) -> str | None:
        """A model as `--model` takes it: from where the coordinator has it, from the directory of models, or fetched as it was asked for;
        None for the default model. Raises BenchError where there is none."""
        named = Path(wanted.path).name
        for place in (
            Path(wanted.path),
            *([self.models / named] if self.models else []),
            self.cache / "models" / named,
        ):
            if place.is_file():
                return str(place)
        if wanted.asked is None or wanted.asked.startswith("hf:"):
            return wanted.asked
        raise BenchError(
            f"{self.name}: has no {named}; put it at {wanted.path}, or start `worker` with --models DIR, the directory where it lies"
        )


@dataclass
class _Prepared:
    """What a site has of a run: the work with its reference and text, and its files by name."""

    setup: Setup
    work: Work
    plan: Plan
    files: Mapping[str, File]
    heard: _Heard

    @classmethod
    def of(cls, site: Site, setup: Setup) -> _Prepared:
        heard = _Heard()
        folder = site.cache / "cluster"
        device = setup.offload if has_device(site.devices, setup.offload) else None
        options = Options(
            **setup.options,
            model=site.model(setup.reference),
            text=_kept(folder, "text.txt", setup.text),
            traces=_kept(folder, "traces.jsonl", setup.traces),
            calibration=_kept(folder, "calibration.txt", setup.calibration),
            imatrix=_kept(folder, "imatrix.gguf", setup.imatrix),
            no_imatrix=setup.imatrix is None,
            compare=tuple(str(site.model(c)) for c in setup.compared.values()),
            cache=site.cache,
            measures=_measure_options(setup, folder),
            score_on=device.device if device else "cpu",
            gpu_layers=device.layers if device else None,
        )
        work = Work(options, heard)
        if work.reference.sha256 != setup.reference.sha256:
            raise _other_content(site, work.reference.path, work.reference.sha256, setup.reference)
        stream = work.stream(work.text(None).source)
        _check_digits(site, setup, work, stream)
        plan = Plan(
            work=work,
            names=setup.names,
            reference=setup.reference_name,
            alone=frozenset(setup.alone),
            stream=stream,
            windows=Identity.model_validate(setup.identity).windows,
            sitting=setup.sitting,
        )
        files = {setup.reference_name: File(work.reference.path, work.model)}
        found = {c.file.sha256: c.file for c in compared_files(options.compare, work.reference, options.cache, heard)}
        for name, wanted in setup.compared.items():
            if wanted.sha256 not in found:
                raise _other_content(site, Path(wanted.path), "", wanted)
            path = found[wanted.sha256].path
            files[name] = File(path, work.executor.hold(path, wanted.sha256))
        return cls(setup, work, plan, files, heard)

    @cached_property
    def prober(self) -> Prober:
        """Keeps the reference's logits of its windows from one request to the next."""
        return Prober(self.work, is_elsewhere=True)

    def measure(self, request: PartRequest) -> PartAnswer:
        [measure] = [m for m in all_measures() if m.name == request.measure]
        identity = Identity.model_validate(self.setup.identity)
        part = Part(names=request.names, indices=request.indices, what=request.what)
        asked = self.work.options.measures.get(measure.name, measure.options() if measure.options else None)
        stage = measure.stage(self.plan.only(part), asked)
        assert stage is not None
        folder = self.work.options.cache / "cluster"
        folder.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=f"part-{os.getpid()}-", dir=folder) as directory,
            RunStore(Path(directory), identity, {}, record_types()) as store,
        ):
            for line in request.records:
                store.append(parsed(line, record_types(), identity))
            files = self._files(store.run, request.names)
            before = len(store.run.records)
            with self.work.scratch_files():
                stage.check_room()
                stage.measure(store, files)
            new = store.run.records[before:]
            left = stage.pending(store.run) & files.keys()
        failed = {r.recipe: r.reason for r in new if isinstance(r, FailureRecord)}
        if left - failed.keys():  # measures that keep no record of failures tell them
            failed[""] = "; ".join(self.heard.warnings) or f"{', '.join(sorted(left))} not measured"
        good = (r for r in new if not isinstance(r, FailureRecord))
        return PartAnswer(records=tuple(r.model_dump_json() for r in good), failed=failed)

    def probe(self, request: ProbeRequest) -> ProbeAnswer:
        found = self.prober.divergences(request.assignments, request.windows, "Probes", request.length)
        measured = (
            Probed(key=assignment_key(a), kl=tuple(kl.tolist()))
            for a, kl in zip(request.assignments, found, strict=True)
        )
        return ProbeAnswer(measured=tuple(measured))

    def search(self, request: SearchRequest) -> SearchAnswer:
        return SearchAnswer(found=self.prober.search("Search", request.choice))

    def build(self, request: BuildRequest) -> UnitAnswer:
        self.work.quantized(self.setup.recipes[request.recipe], lambda share: None)
        return UnitAnswer()

    def build_all(self) -> None:
        """Build the files meanwhile that parts will need. What cannot be built is told when it is needed."""
        for recipe in self.setup.recipes.values():
            with suppress(BenchError):
                self.work.quantized(recipe, lambda share: None)

    def sums(self, request: SumsRequest) -> SumsAnswer:
        work = self.work
        with work.scratch_files():
            job = ImportancePartJob(
                model=work.model,
                stream=work.calibration.content,
                part=request.part,
                chunks=request.chunks,
                threads=work.threads,
                out=work.scratch("sums.npz"),
                offload=work.offload,
            )
            work.executor.do(job)
            data = work.executor.site.path(job.out).read_bytes()
        return SumsAnswer(sums=base64.b64encode(data).decode("ascii"))

    def _files(self, run: Run, names: tuple[str, ...] | None) -> dict[str, File]:
        """Files that a part is about, each with the content that is on record. Raises BenchError where this site builds another."""
        found = dict(self.files)
        for name, record in run.files.items():
            # what is complete has no recipe here, and is not needed
            if name in self.setup.recipes and (names is None or name in names):
                found[name] = self._built(record)
        return found

    def _built(self, record: FileRecord) -> File:
        built = self.work.quantized(self.setup.recipes[record.recipe], lambda share: None)
        if built.sha256 != record.sha256:
            raise BenchError(
                f"{record.recipe}: was built with other bytes here than at the coordinator (SHA-256 {built.sha256[:12]}…, "
                f"not {record.sha256[:12]}…)"
            )
        return File(built.path, self.work.executor.hold(built.path, built.sha256))


def _check_digits(site: Site, setup: Setup, work: Work, stream: Stream) -> None:
    """Raise BenchError where this machine computes other scores than the coordinator: on the device, if it scores on one, and on the CPU."""
    wanted = [(setup.digits, False)] if setup.offload is None or work.offload is not None else []
    wanted += [(setup.cpu_digits, True)] if setup.offload is not None else []
    for agreed, on_cpu in wanted:
        if agreed not in site.agreed and (scored := digits(work, stream, on_cpu=on_cpu)) != agreed:
            by = work.offload.in_words if work.offload is not None and not on_cpu else f"CPU is {this_machine().cpu}"
            raise BenchError(
                f"{site.name}: scores differ from the coordinator's in their digits ({scored[:8]}… and {agreed[:8]}…), so its "
                f"figures would not belong to this run; its {by}"
            )
        site.agreed.add(agreed)


def _other_content(site: Site, path: Path, sha256: str, wanted: ModelFile) -> BenchError:
    has = f"SHA-256 {sha256[:12]}…, not" if sha256 else "not that with SHA-256"
    return BenchError(
        f"{site.name}: {path.name} is another file than the coordinator's ({has} {wanted.sha256[:12]}…); put the coordinator's at {wanted.path}"
    )


def _kept(folder: Path, name: str, content: str | None) -> Path | None:
    """A file that the coordinator sent, by its content; None for none."""
    if content is None:
        return None
    data = base64.b64decode(content)
    path = folder / hashlib.sha256(data).hexdigest()[:16] / name  # the name may stand in records
    if not path.is_file() or path.read_bytes() != data:
        with complete_or_absent(path) as partial:
            partial.write_bytes(data)
    return path


def _measure_options(setup: Setup, folder: Path) -> dict[str, object]:
    types = {m.name: m.options for m in all_measures() if m.options is not None}
    files = {name: str(_kept(folder, Path(name).name, content)) for name, content in setup.attached.items()}
    return {
        name: TypeAdapter(types[name]).validate_python(_here(asked, files)) for name, asked in setup.measures.items()
    }


def _here(value: object, files: Mapping[str, str]) -> object:
    """Options with the places of files here."""
    if isinstance(value, dict):
        return {k: _here(v, files) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_here(v, files) for v in value]
    return files.get(value, value) if isinstance(value, str) else value
