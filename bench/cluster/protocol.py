"""What crosses between the coordinator and a site: frozen data, as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bench.choose.jobs import Choice, Probed, SearchResult
from bench.core.files import short_hash
from bench.core.machine import Machine
from bench.engine.jobs import Device
from bench.engine.settings import LibraryInfo, Offload
from bench.execute.job import Frozen
from bench.recipes.recipe import Recipe


class SiteReport(Frozen):
    """What a site says of itself. version: of this program; free_bytes: on the disk of its cache; available_bytes: of memory;
    cpus: that it may use; devices: beside its CPU, that its engine can compute on."""

    name: str
    version: str
    library: LibraryInfo
    machine: Machine
    cpus: int
    free_bytes: int
    available_bytes: int
    devices: tuple[Device, ...] = ()


class ModelFile(Frozen):
    """A model that was not built by the run: where the coordinator has it, and the SHA-256 of its content.

    asked: as it was asked for, None for the default model.
    """

    path: str
    sha256: str
    asked: str | None


class Setup(Frozen):
    """What a site needs to measure parts of a run.

    identity: of the run, as in its header; options: fields of `Options` that are the same at every site; measures: those of
    single measures, by name; text, traces, calibration, imatrix: content of files, base64, None for the fixed prompts and for no importance
    matrix; recipes: by name, with their types chosen; compared: third-party files, by name; attached: content of files
    that options of measures name, base64, by the path that stands there; digits: SHA-256 of what a short
    window of the reference must score, to the last digit; mark: a file of the coordinator's cache, by which a site sees whether both are one;
    builds: whether files are to be built before the first part is measured; offload: the device that scores are computed on, None for the CPU; cpu_digits: as digits, on
    the CPU, of sites that lack the device and only time.
    """

    identity: dict[str, Any]
    options: dict[str, Any]
    measures: dict[str, dict[str, Any]]
    reference: ModelFile
    reference_name: str
    names: tuple[str, ...]
    alone: tuple[str, ...]
    recipes: dict[str, Recipe]
    compared: dict[str, ModelFile]
    attached: dict[str, str]
    text: str | None
    traces: str | None
    calibration: str | None
    imatrix: str | None
    sitting: str
    digits: str
    mark: str
    builds: bool
    offload: Offload | None = None
    cpu_digits: str = ""


class PrepareAnswer(Frozen):
    """What came of asking a site about itself, or of handing it a setup. shares: whether its cache is the coordinator's; error: why it
    cannot take part."""

    report: SiteReport | None = None
    shares: bool = False
    warnings: tuple[str, ...] = ()
    error: str | None = None


class PartRequest(Frozen):
    """A part of a stage. setup: key of what it needs; measure: name of the measure; names, indices, what: as in `Part`; records: lines
    of the run's records that it depends on."""

    setup: str
    measure: str
    names: tuple[str, ...] | None
    indices: tuple[int, ...] | None
    what: Literal["all", "scores", "times"] = "all"
    records: tuple[str, ...] = Field(repr=False)


class UnitAnswer(Frozen):
    """What came of a unit of work. warnings: for the user; error: why the site could not do it; unknown: whether it does not have the setup
    (any more)."""

    warnings: tuple[str, ...] = ()
    error: str | None = None
    unknown: bool = False


class PartAnswer(UnitAnswer):
    """What a site measured. records: new lines; failed: why files are missing in them, by name, with "" for what is of no single file."""

    records: tuple[str, ...] = Field(default=(), repr=False)
    failed: dict[str, str] = Field(default_factory=dict)


class ProbeRequest(Frozen):
    """Assignments of types to measure on windows of the calibration text (choose/prober.py). setup: key of what that needs."""

    setup: str
    assignments: tuple[dict[str, str], ...]
    windows: tuple[int, ...]
    length: int


class ProbeAnswer(UnitAnswer):
    """measured: one for each assignment, in their order."""

    measured: tuple[Probed, ...] = ()


class SearchRequest(Frozen):
    """A choice to make (choose/search.py). setup: key of what that needs."""

    setup: str
    choice: Choice


class SearchAnswer(UnitAnswer):
    """found: the choice, None where there is an error."""

    found: SearchResult | None = None


class BuildRequest(Frozen):
    """A file to build. setup: key of what that needs; recipe: its name."""

    setup: str
    recipe: str


class SumsRequest(Frozen):
    """A part of the calibration text to sum (quantize/sums.py). setup: key of what that needs; chunks: of all parts together."""

    setup: str
    part: int
    chunks: int


class SumsAnswer(UnitAnswer):
    """sums: as `Sums.save` writes them, base64."""

    sums: str = Field(default="", repr=False)


def setup_key(setup: Setup) -> str:
    """A short name for all that a setup says."""
    return short_hash(setup.model_dump_json())
