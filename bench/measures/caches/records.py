"""Records of caches."""

from __future__ import annotations

from typing import Literal

from bench.core.values import Count
from bench.engine.settings import Cache
from bench.measures.caches.jobs import CacheResult
from bench.records.identity import Identity
from bench.records.record import OfFile


class CacheRecord(OfFile):
    """One window of one file with some KV cache."""

    kind: Literal["cache"] = "cache"
    window: Count
    cache: Cache
    result: CacheResult

    @property
    def index(self) -> int:
        return self.window

    def misfit(self, identity: Identity) -> str | None:
        if not (self.result.refused or self.result.by_kind):
            return "has neither scores nor a reason why there are none"
        return identity.lacks(self.window)
