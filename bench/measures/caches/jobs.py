"""The job of a cache: a request to a worker, and its answer in raw values."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from bench.core.values import Amount, Count, Name, Number, Some, Words
from bench.engine.settings import Cache, Settings
from bench.execute.content import Content
from bench.execute.job import Frozen, Job


class Distance(Frozen):
    """Sums over tokens of their distance from another distribution. kl: nats; p_change_squares: of the change of the correct token's
    probability; same_top: tokens where both find the same one most likely."""

    kl: Number
    p_change_squares: Amount
    same_top: Count


class Sums(Frozen):
    """Sums over some scored tokens. nll: nats; own: from the same file with a cache in f16; reference: from the reference with a cache in f16. None
    where there is nothing to compare with, or that is the same."""

    tokens: Some
    nll: Number
    own: Distance | None
    reference: Distance | None


class Kept(Frozen):
    """What llama.cpp says of a cache. k_bytes, v_bytes: of the whole cache, which has room for `cells` tokens; rotates_k, rotates_v: whether keys
    and values are rotated before they are kept."""

    cells: Some
    k_bytes: Count
    v_bytes: Count
    rotates_k: bool
    rotates_v: bool


class CacheResult(Frozen):
    """A window of a file with some cache. by_kind: over the scored tokens of each kind of prompt; by_position: over parts of equal length, in the
    text's order, none where the scored tokens stand elsewhere in each window; refused: why there are none of all these, where llama.cpp refuses the cache or computes no numbers with it."""

    by_kind: Annotated[dict[Name, Sums], Field(max_length=1000)] = Field(default_factory=dict)
    by_position: Annotated[tuple[Sums, ...], Field(max_length=1000)] = ()
    kept: Kept | None = None
    refused: Words | None = None


class CacheJob(Job[CacheResult]):
    """Score a window of a file with some cache. write_logits: keep its logits there; own_logits, reference_logits: hold it against
    these."""

    done_by: ClassVar[str] = "bench.measures.caches.compute:score_with_cache"
    pinned: ClassVar[bool] = True

    model: Content
    stream: Content
    window: int
    settings: Settings
    cache: Cache
    write_logits: Content | None = None
    own_logits: Content | None = None
    reference_logits: Content | None = None
