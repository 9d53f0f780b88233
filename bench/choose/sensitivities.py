"""All that is measured of a model's tensors to be shown: what each does alone, and what they do together."""

from __future__ import annotations

from dataclasses import dataclass

from bench.choose.additivity import Together
from bench.choose.sensitivity import Sensitivity
from bench.gguf_files.info import ModelInfo


@dataclass(frozen=True)
class Sensitivities:
    """A model's sensitivities in several types, with the weighted errors of the same tensors and types.

    text, tokens: what they were measured on; errors: {tensor: {type: relative weighted error}}; together: of every type, all tensors and
    those of each kind at once.
    """

    model: ModelInfo
    text: str
    tokens: int
    measured: tuple[Sensitivity, ...]
    errors: dict[str, dict[str, float]]
    together: tuple[Together, ...]
