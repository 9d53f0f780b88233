"""Records of samples."""

from __future__ import annotations

from typing import Literal

from bench.core.values import Some
from bench.measures.samples.jobs import Completion
from bench.records.record import OfFile


class SampleRecord(OfFile):
    """What a recipe writes after prompts, always the likeliest token. prompts: (name, text) of each; limit: in tokens."""

    kind: Literal["sample"] = "sample"
    prompts: tuple[tuple[str, str], ...]
    limit: Some
    completions: tuple[Completion, ...]
