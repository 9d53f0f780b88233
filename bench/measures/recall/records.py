"""Records of recall."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bench.core.values import Some
from bench.engine.settings import Cache
from bench.measures.recall.jobs import Recalled
from bench.records.record import OfFile


class RecallRecord(OfFile):
    """Passages that a file was given twice, with some KV cache. stride: tokens from one to the next; passage: tokens of one; distances: those that
    were measured together."""

    kind: Literal["recall"] = "recall"
    cache: Cache
    stride: Some
    passage: Some
    distances: Annotated[tuple[Some, ...], Field(min_length=1)]
    recalled: Annotated[tuple[Recalled, ...], Field(min_length=1)]
