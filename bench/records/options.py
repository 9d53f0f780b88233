"""The options that made a run's files, as far as its records hold them; a user's own files are given by name."""

from __future__ import annotations

from bench.gguf_files.info import UNQUANTIZED
from bench.models.reference import DEFAULT
from bench.records.run import Run

#: What widening writes into a model's description (gguf_files/widen.py).
_WIDENED = "Widened exactly with zeros"


def is_widened(run: Run) -> bool:
    """Whether the reference was widened with zeros."""
    reference = run.files.get(run.reference or "")
    return _WIDENED in (reference.description if reference else run.identity.model.description or "")


def model_options(run: Run) -> list[str]:
    """Options that name the reference; none for the default model."""
    model, reference = run.identity.model, run.files.get(run.reference or "")
    if DEFAULT.requirement in (model.description or ""):
        return []
    asked = ["--model", reference.origin if reference and reference.origin else f"{model.name}.gguf"]
    if is_widened(run):
        asked.append("--widen")
    if reference and reference.weights_by_type.keys() - UNQUANTIZED:
        asked.append("--allow-quantized")
    return asked


def importance_options(run: Run) -> list[str]:
    """Options that name the importance matrix, or the text that it was computed from; none for the default one."""
    importance = run.identity.importance
    if importance is None:
        return ["--no-imatrix"]
    asked: list[str] = []
    if importance.source == "file":
        asked += ["--imatrix", importance.name]
    elif not importance.name.startswith("fixed "):
        asked += ["--calibration", importance.name]
    if importance.chunks:
        asked += ["--calibration-chunks", str(importance.chunks)]
    if importance.prior_weight:
        asked += ["--prior-weight", f"{importance.prior_weight:g}"]
    return asked
