"""The identity of a run and its files, put together from the sweep's inputs."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.choose.chooser import Resolved
from bench.core.errors import BenchError
from bench.core.version import DISTRIBUTION, this_version
from bench.engine.memory import ModelShape, shape_of
from bench.engine.settings import LibraryInfo
from bench.models.compared import FAMILY, Compared
from bench.models.reference import Reference
from bench.records.identity import Identity, ModelIdentity
from bench.records.record import FileRecord
from bench.workbench.kept import Built


def reference_record(run_id: str, label: str, reference: Reference) -> FileRecord:
    found = _model_record(run_id, label, reference)
    return found.model_copy(update={"details": reference.info.details, "shape": _shape(reference.path)})


def _shape(path: Path) -> ModelShape | None:
    try:
        return shape_of(path)
    except BenchError:  # its memory is not told then, and nothing else needs it
        return None


def _model_record(run_id: str, label: str, reference: Reference) -> FileRecord:
    """The record of a model file that was not built here."""
    info = reference.info
    return FileRecord(
        run=run_id,
        recipe=label,
        family="Reference",
        base=label,
        description=info.description or info.name,
        sha256=reference.sha256,
        n_bytes=info.n_bytes,
        bits_per_weight=info.bits_per_weight,
        weights_by_type=info.weights_by_type,
        types={t.name: t.type for t in info.tensors},
        replaced={},
        importance_sha256=None,
        build_seconds=None,
        build_memory_bytes=None,
        origin=reference.origin,
    )


def compared_record(run_id: str, compared: Compared) -> FileRecord:
    record = _model_record(run_id, compared.name, compared.file)
    told = {
        "family": FAMILY,
        "base": compared.base,
        "origin": compared.origin,
        "told": compared.told,
        "perplexity_only": compared.perplexity_only,
    }
    return record.model_copy(update=told)


def file_record(run_id: str, resolved: Resolved, built: Built) -> FileRecord:
    recipe = resolved.recipe
    return FileRecord(
        run=run_id,
        recipe=recipe.name,
        family=recipe.family,
        base=recipe.base,
        description=recipe.description,
        sha256=built.sha256,
        n_bytes=built.n_bytes,
        bits_per_weight=built.bits_per_weight,
        weights_by_type=built.weights_by_type,
        types=built.result.types,
        replaced=built.result.replaced,
        importance_sha256=built.importance_sha256,
        rules=resolved.rules,
        choice=resolved.choice,
        build_seconds=built.result.seconds,
        build_memory_bytes=built.result.peak_memory_bytes,
    )


def model_identity(reference: Reference) -> ModelIdentity:
    info = reference.info
    return ModelIdentity(
        name=info.name,
        sha256=reference.sha256,
        architecture=info.architecture,
        n_layers=info.n_layers,
        n_weights=info.n_weights,
        description=info.description,
    )


def default_directory(identity: Identity) -> Path:
    """results/local/MODEL-ID: the same run again finds its directory, another run gets another one."""
    name = "".join(c if c.isalnum() else "-" for c in identity.model.name.lower()).strip("-")
    return Path("results") / "local" / f"{'-'.join(filter(None, name.split('-')))}-{identity.id}"


def versions(library: LibraryInfo) -> dict[str, str]:
    """Versions by package, and `commit` of this program where it is known."""
    found = {"python": platform.python_version(), "llama-cpp-python": library.binding, "llama.cpp": library.llama_cpp}
    own = this_version()
    found[DISTRIBUTION] = own.version
    for package in ("gguf", "numpy", "datasets", "pandas", "pytest-benchmark"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    if own.commit:
        found["commit"] = own.commit
    return found
