"""The next step after a recommendation: the command that fetches, runs or makes the file."""

from __future__ import annotations

import re
import shlex

from bench.advise.choice import Pick
from bench.models.compared import FAMILY as COMPARED
from bench.recipes.labels import plain
from bench.records.options import importance_options, model_options
from bench.records.run import Run

#: Stands for the name of this program in a command, since it depends on how it was called.
PROGRAM = "{program}"

#: On sizes of model: what to name next.
TO_NAME = (
    "Next: look on the hub for a repository of such a model with GGUF files (their names often end in -GGUF), and let "
    f"`{PROGRAM} advise hf:OWNER/REPO` choose among its files. A run's directory or a model in 16 bits can be named too."
)


def to_fetch(take: Pick | None, named: str, context: int) -> str:
    """How to fetch and run a file of a repository, `hf:owner/repo@commit`, with llama.cpp; nothing without a file."""
    if take is None or take.file is None:
        return ""
    repo = named.removeprefix("hf:").partition("@")[0]
    command = shlex.join(["llama-cli", "-hf", repo, "--hf-file", take.file, "-c", str(context)])
    return f"Next: `{command}` fetches it and runs it."


def to_make(take: Pick | None, model: str) -> str:
    """How to make a format of a model; nothing where 16 bits are taken, which the model has."""
    if take is None or re.fullmatch(r"B?F16|F32", take.name):
        return ""
    command = shlex.join(["quantize", take.name, f"{plain(take.name)}.gguf", "--model", model])
    return f"Next: `{PROGRAM} {command}` makes it."


def to_make_again(run: Run, take: Pick | None) -> str:
    """How to make a file of a run, as far as its records tell; names stand for files of the user's."""
    if take is None or run.files[take.name].family == "Reference":
        return ""
    file = run.files[take.name]
    if file.family == COMPARED:
        return f"Next: it was not made by the run, and comes from {file.origin or take.name}."
    matrix = importance_options(run) if file.importance_sha256 is not None else ["--no-imatrix"]
    words = ["quantize", take.name, f"{plain(take.name)}.gguf", *model_options(run), *matrix]
    return f"Next: `{PROGRAM} {shlex.join(words)}` makes it."
