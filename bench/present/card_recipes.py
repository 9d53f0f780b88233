"""Commands that make the files of a card again with llama.cpp's own tool, and the types of mixed recipes."""

from __future__ import annotations

import re
import shlex

from bench.core.formats import in_one_line
from bench.present.hub_names import file_names, model_label
from bench.recipes.labels import plain
from bench.records.record import FileRecord
from bench.records.run import Run

#: Where the lists and the commands stand beside a card.
DIRECTORY = "recipes"
SCRIPT = f"{DIRECTORY}/quantize.sh"


def reference_name(run: Run) -> str:
    """What the commands call the reference's file."""
    return f"{model_label(run)}-{plain(run.reference or 'F16')}.gguf"


def commands(run: Run, matrix: str | None) -> dict[str, str]:
    """{recipe: its `llama-quantize`}. matrix: name of the importance matrix's file, None where it is not beside the card."""
    found = {}
    for recipe, name in file_names(run).items():
        file = run.files[recipe]
        words = ["llama-quantize"]
        if file.importance_sha256:
            words += ["--imatrix", matrix or "IMATRIX"]
        if _is_mixed(file):
            words += ["--tensor-type-file", types_path(name)]
        found[recipe] = shlex.join([*words, reference_name(run), name, file.base])
    return found


def types_path(name: str) -> str:
    """Where the list of a file's types is kept, beside the card."""
    return f"{DIRECTORY}/{name.removesuffix('.gguf')}.txt"


def recipe_files(run: Run, matrix: str | None) -> dict[str, str]:
    """{path beside the card: text}: one script with all commands, and for each mixed recipe the types of its tensors."""
    i, reference = run.identity, run.files.get(run.reference or "")
    head = [
        "#!/bin/sh",
        f"# Makes the quantized files of {in_one_line(i.model.name)} again with llama-quantize of llama.cpp {i.library.llama_cpp}",
        f"# (of llama-cpp-python {i.library.binding}). Run it in the directory of the model card.",
        f"# {reference_name(run)}: SHA-256 {i.model.sha256}",
        *([f"# It is {in_one_line(i.model.description)}"] if i.model.description else []),
        *([f"# It was fetched from {in_one_line(reference.origin)}"] if reference and reference.origin else []),
    ]
    if i.importance and matrix is None:
        head.append(f"# IMATRIX: the importance matrix of {in_one_line(i.importance.name)}")
    found = {SCRIPT: "\n".join([*head, "set -e", *commands(run, matrix).values()]) + "\n"}
    for recipe, name in file_names(run).items():
        if reference is not None and _is_mixed(run.files[recipe]):
            found[types_path(name)] = _types(run.files[recipe], reference)
    return found


def _is_mixed(file: FileRecord) -> bool:
    """Whether a file has other types than llama.cpp's own mix."""
    return file.recipe.removesuffix("-PLAIN") != file.base


def _types(file: FileRecord, reference: FileRecord) -> str:
    """A list for `--tensor-type-file`: a pattern for every tensor but those of F32, such as norms, that stay as they are."""
    named = {n: t for n, t in file.types.items() if t != "F32" or reference.types.get(n) != t}
    return "".join(f"^{re.escape(name)}$={stored.lower()}\n" for name, stored in named.items())
