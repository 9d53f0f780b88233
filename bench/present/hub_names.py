"""Names of files in a repository of the hub, which keep apart there what is apart here.

The hub, `llama-cli -hf`, Ollama and LM Studio offer the files of a repository by a label that they read out of the name: the
last type in it, with letters that follow an underscore (packages/tasks/src/gguf.ts of huggingface.js). To them
DG-IQ2_XXS and IQ2_XXS are one. So a file that is not llama.cpp's own mix says so behind its type: IQ2_XXS_DG.
"""

from __future__ import annotations

import re
from collections import Counter

import gguf

from bench.core.errors import BenchError
from bench.models import compared
from bench.recipes.recipe import standard_formats
from bench.records.record import FileRecord
from bench.records.run import Run

#: Types that a label may begin with: llama.cpp's formats, and those that only names have.
_TYPES = [t.name.removeprefix("MOSTLY_").removeprefix("ALL_") for t in gguf.LlamaFileType if t.name != "GUESSED"]
_LABEL = re.compile(rf"(?:UD-)?(?:{'|'.join([*_TYPES, *(f'Q{n}_K_XL' for n in range(2, 9))])})(?:_[A-Z]+)?")
#: Formats, the longest names first: Q4_K_M ends no other.
_BY_LENGTH = sorted(standard_formats(), key=len, reverse=True)


def hub_label(name: str) -> str | None:
    """What the hub offers a file as; None for a name without a type."""
    found = _LABEL.findall(name.upper())
    return found[-1] if found else None


def file_names(run: Run) -> dict[str, str]:
    """{recipe: name of its file in the repository}, smallest file first: MODEL-TYPE.gguf, MODEL-TYPE_KIND.gguf.

    The reference is not quantized, random controls are of use to nobody, and files of others are theirs to publish.
    Raises BenchError where two files would have one name.
    """
    left_out = ("Reference", compared.FAMILY)
    published = [f for f in run.files.values() if f.family not in left_out and not f.family.endswith(", random")]
    published.sort(key=lambda f: f.n_bytes)
    shared = {label for label, n in Counter(map(_label, published)).items() if n > 1}
    found: dict[str, str] = {}
    for file in published:
        label = _label(file)
        full = f"{plain(file.recipe)}-{label}" if label in shared and label != file.recipe else label
        name = f"{plain(run.identity.model.name)}-{full}.gguf"
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


def plain(name: str) -> str:
    """A name that needs no quoting in a shell or an address: auto@IQ2_S becomes auto-IQ2_S."""
    return re.sub(r"[^A-Za-z0-9._+]+", "-", name).strip("-")


def _label(file: FileRecord) -> str:
    """IQ2_XXS for llama.cpp's own mix; IQ2_XXS_DG, IQ2_S_AUTO, IQ2_S_AUTODG for others, by the type that they start from or have
    the size of."""
    if file.family == "Standard":
        return plain(file.recipe)
    against = (file.choice.against if file.choice else None) or file.base
    base = next((f for f in _BY_LENGTH if against == f or against.endswith(f"-{f}")), file.base)
    prefix = file.recipe.partition("@")[0].removesuffix(base)
    kind = re.sub(r"[^A-Z]", "", (prefix + against.removesuffix(base)).upper())
    return f"{base}_{kind}" if kind else plain(file.recipe)
