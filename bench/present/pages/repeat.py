"""Everything that repeating a run needs, from its records: command, hashes, versions, settings, library build."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from bench.core.formats import MISSING
from bench.engine.settings import Settings
from bench.measures.registry import all_measures
from bench.models.compared import FAMILY as COMPARED
from bench.present.importance import thin_words
from bench.present.pages.tables import Table, table
from bench.records.options import importance_options, model_options
from bench.records.run import Run
from bench.texts.prompts import languages_of


@dataclass(frozen=True)
class Repeat:
    """What it takes to do a run again. facts: (heading, [(what, value)])."""

    command: str
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    files: Table


def repeat(run: Run) -> Repeat:
    """Command, hashes, versions, settings and library build of a run."""
    import pandas as pd

    i = run.identity
    model, settings, library = i.model, i.settings, i.library
    facts: dict[str, dict[str, object]] = {
        "Run": {"identity": run.header.id, "record format": run.header.format, "started": run.header.started},
        "Model": {
            "name": model.name,
            "SHA-256": model.sha256,
            "architecture": f"{model.architecture}, {model.n_layers} layers, {model.n_weights:,} weights",
        },
        "Text": {"name": i.prompts.name, "SHA-256": i.prompts.sha256, "windows": i.windows},
        "Importance matrix": {"name": "none"}
        if i.importance is None
        else {
            "source": i.importance.source,
            "name": i.importance.name,
            "SHA-256": i.importance.sha256,
            "chunks": i.importance.chunks or "all",
            **_coverage(run),
        },
        "Problems": {k: v for m in all_measures() for k, v in m.identities(run).items()},
        "Settings": settings.model_dump(exclude={"offload"})
        | ({"scores computed on": settings.offload.in_words} if settings.offload else {}),
        "Library": {
            "llama-cpp-python": library.binding,
            "llama.cpp": library.llama_cpp,
            "instruction set": library.isa,
            "features": ", ".join(library.features),
        },
        "Machine": _readable(i.machine.model_dump()),
        "Versions": dict(run.header.versions),
    }
    matrices = {f.importance_sha256 for f in run.files.values()} - {None}
    if len(matrices) == 1:
        facts["Importance matrix"]["SHA-256 of its file"] = matrices.pop()
    rows = []
    for name, f in run.files.items():
        made = "the model above" if f.family == "Reference" else f.description or f.origin or MISSING
        row = {"Recipe": name, "Bytes": str(f.n_bytes), "SHA-256": f.sha256}
        if matrices:
            row["Importance matrix, SHA-256"] = f.importance_sha256 or MISSING
        rows.append(row | {"Made": made})
    files = pd.DataFrame(rows)
    return Repeat(
        command(run),
        tuple((what, tuple((k, str(v)) for k, v in listed.items())) for what, listed in facts.items() if listed),
        table("files", "Files and their hashes", files),
    )


def _coverage(run: Run) -> dict[str, object]:
    """How much of the model saw data, and a prior; nothing of runs that did not record it."""
    importance, found = run.identity.importance, run.importance
    said: dict[str, object] = {}
    if importance is not None and importance.prior_weight:
        said["prior"] = f"{importance.prior_weight:g} rows of ones"
    if found is not None:
        said["rows of weights that saw data"] = f"{100 * found.rows:.4g} %"
        if found.experts:
            said["experts that saw data"] = f"{found.seen:,} of {found.experts:,}"
        if found.thin:
            said["too few data"] = thin_words(found.thin, len(found.thin))
    return said


def _readable(fields: Mapping[str, object]) -> dict[str, object]:
    """Names of fields as people write them."""
    return {re.sub("cpu", "CPU", k.replace("_gib", " in GiB").replace("_", " ")): v for k, v in fields.items()}


def command(run: Run) -> str:
    """A command that does the run again, as far as records tell: names stand for files of the user's."""
    from bench.recipes.recipe import DEFAULT_RECIPES

    i, reference = run.identity, run.files.get(run.reference or "")
    asked = model_options(run)
    recipes = [n for n, f in run.files.items() if f.family not in ("Reference", COMPARED)]
    if recipes and set(recipes) != set(DEFAULT_RECIPES):
        asked += ["--recipes", ",".join(recipes)]
    if not recipes and reference:  # third-party files only
        asked += ["--recipes", run.reference or ""]
    for file in run.files.values():
        if file.family == COMPARED:
            asked += ["--compare", file.origin or file.recipe]
    fingerprint = run.header.versions.get("dataset")
    if fingerprint is not None:  # of the hub it is the name with its commit, of a file its hash
        asked += ["--dataset", fingerprint if "@" in fingerprint else i.prompts.name.partition(", its first")[0]]
    elif i.settings.scored == "written":
        asked += ["--traces", i.prompts.name.partition(" (written by ")[0]]
    elif languages := languages_of(i.prompts.name):
        asked += ["--languages", ",".join(languages)]
    elif not i.prompts.name.startswith("fixed "):
        asked += ["--text", i.prompts.name]
    asked += importance_options(run)
    usual = Settings()
    if i.until is not None:
        asked += ["--until", str(i.until)]
    asked += ["--windows", str(i.windows), "--threads", str(i.settings.threads), "--isa", i.library.isa]
    for option, value, normal in (
        ("--window", i.settings.window, usual.window),
        ("--score", i.settings.scored, i.settings.scored if i.settings.scored == "written" else usual.scored),
        ("--generate", i.settings.generate, usual.generate if i.speeds else 0),
    ):
        if value != normal:
            asked += [option, str(value)]
    if i.settings.offload is not None:
        asked += ["--score-on", i.settings.offload.device, "--gpu-layers", str(i.settings.offload.layers)]
    if not i.speeds:
        asked.append("--no-speed")
    asked += [option for m in sorted(all_measures(), key=lambda m: m.name) for option in m.repeat(run)]
    return f"{_engine(run)}nox -s bench -- {shlex.join(asked)}"


#: What names of devices begin with, by the build of the engine that has them.
_DEVICES = {"CUDA": "cuda", "Vulkan": "vulkan", "MTL": "metal", "Metal": "metal", "ROCm": "hip"}


def _engine(run: Run) -> str:
    """The variable that names the build of the engine, where a run needs another than the default."""
    offload = run.identity.settings.offload
    built = next((b for begin, b in _DEVICES.items() if offload and offload.device.startswith(begin)), None)
    return f"BENCH_ENGINE={built} " if built else ""
