"""The job of recall: a request to a worker, and its answer in raw values."""

from __future__ import annotations

from typing import ClassVar

from bench.core.values import Amount, Count, Some
from bench.engine.settings import Cache
from bench.execute.content import Content
from bench.execute.job import Frozen, Job


class Recalled(Frozen):
    """A passage at one distance. item: which passage of the text; tokens: of it that count, all but its first; first, second: sums of their NLL where
    it stands first and where it is repeated, nats."""

    item: Count
    distance: Some
    tokens: Some
    first: Amount
    second: Amount


class RecallResult(Frozen):
    """All passages at all distances, in that order."""

    recalled: tuple[Recalled, ...]


class RecallJob(Job[RecallResult]):
    """Repeat passages of a text. items: how many; stride: tokens from the beginning of one to that of the next; passage: tokens of one."""

    done_by: ClassVar[str] = "bench.measures.recall.compute:recall"
    pinned: ClassVar[bool] = True

    model: Content
    stream: Content
    items: int
    stride: int
    passage: int
    distances: tuple[int, ...]
    threads: int
    cache: Cache
