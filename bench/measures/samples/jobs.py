"""Jobs for samples: requests to a worker, and its answers."""

from __future__ import annotations

from typing import ClassVar

from bench.execute.content import Content
from bench.execute.job import Frozen, Job


class Completion(Frozen):
    """What a model wrote after a prompt. ended: whether it said so itself, before the limit."""

    tokens: tuple[int, ...]
    text: str
    ended: bool


class SampleResult(Frozen):
    completions: tuple[Completion, ...]


class SampleJob(Job[SampleResult]):
    """Complete texts, always with the likeliest token. limit: tokens of a completion."""

    done_by: ClassVar[str] = "bench.measures.samples.complete:sample"
    pinned: ClassVar[bool] = True

    model: Content
    prompts: tuple[str, ...]
    limit: int
    threads: int
