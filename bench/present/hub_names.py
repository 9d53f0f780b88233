"""Names of a run's files in a repository of the hub (see recipes/labels.py)."""

from __future__ import annotations

from collections import Counter

from bench.core.errors import BenchError
from bench.models import compared
from bench.recipes.labels import file_label, hub_label, is_bound, plain
from bench.records.record import FileRecord
from bench.records.run import Run


def model_label(run: Run) -> str:
    """The model's name as names of files and tags begin with it."""
    return plain(run.identity.model.name) or "model"


def file_names(run: Run) -> dict[str, str]:
    """{recipe: name of its file in the repository}, smallest file first: MODEL-TYPE.gguf, MODEL-TYPE_KIND.gguf.

    The reference is not quantized, random controls are of use to nobody, and third-party files are theirs to publish.
    Raises BenchError where two files would have one name.
    """
    left_out = ("Reference", compared.FAMILY)
    published = [f for f in run.files.values() if f.family not in left_out and not f.family.endswith(", random")]
    published.sort(key=lambda f: f.n_bytes)
    shared = {label for label, n in Counter(map(_label, published)).items() if n > 1}
    found: dict[str, str] = {}
    for file in published:
        label = _label(file)
        tells_little = label in shared or is_bound(file.recipe)
        full = f"{plain(file.recipe)}-{label}" if tells_little and label != file.recipe else label
        name = f"{model_label(run)}-{full}.gguf"
        if name in found.values():
            raise BenchError(f"{file.recipe}: another recipe's file is called {name} too; rename one of their prefixes")
        found[file.recipe] = name
    return found


def sharing(run: Run) -> dict[str, list[str]]:
    """{label: names of the files that share it}, of labels that stand for several files there."""
    by_label: dict[str, list[str]] = {}
    for name in file_names(run).values():
        by_label.setdefault(hub_label(name) or "", []).append(name)
    return {label: names for label, names in by_label.items() if len(names) > 1}


def _label(file: FileRecord) -> str:
    return file_label(file.recipe, file.base, file.choice.against if file.choice else None)
