"""What `--cluster` says: where the sites of a run are reached."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.core.errors import BenchError

_FORMS = "give tcp://HOST:PORT of a Dask scheduler that runs (tls:// with certificates), ssh:HOST,HOST or local:N for N sites on this machine"


@dataclass(frozen=True)
class Address:
    """scheduler: of one that runs, `tcp://host:8786`; hosts: to start sites on over SSH; local: how many to start on this machine. One of them is given."""

    scheduler: str | None = None
    hosts: tuple[str, ...] = ()
    local: int = 0

    @classmethod
    def parse(cls, asked: str) -> Address:
        """Raises BenchError for what is no address."""
        kind, _, rest = asked.partition(":")
        if kind in ("tcp", "tls", "ucx", "ws", "wss") and re.fullmatch(r"//[^/:\s]+:\d{1,5}", rest):
            return cls(scheduler=asked)
        if kind == "local" and rest.isdigit() and 1 <= int(rest) <= 64:
            return cls(local=int(rest))
        hosts = tuple(h.strip() for h in rest.split(","))
        if kind == "ssh" and all(re.fullmatch(r"[\w.@-]+", h) and not h.startswith("-") for h in hosts):
            return cls(hosts=hosts)
        raise BenchError(f"--cluster {asked}: is not understood; {_FORMS}")
