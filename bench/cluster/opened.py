"""Opening the cluster that `--cluster` names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.cluster.address import Address
from bench.cluster.connection import Connection


@contextmanager
def opened(asked: str, threads: int, cache: Path) -> Iterator[Connection]:
    """A connection to the sites, which ends with the block. Raises BenchError where Dask is missing or nothing answers."""
    address = Address.parse(asked)
    from bench.cluster.dask import DaskConnection
    from bench.cluster.local import local_cluster
    from bench.cluster.ssh import ssh_cluster

    with ExitStack() as stack:
        if address.hosts:
            where = stack.enter_context(ssh_cluster(address.hosts))
        else:
            where = address.scheduler or stack.enter_context(local_cluster(address.local, threads, cache))
        connection = DaskConnection(where)
        stack.callback(connection.close)
        yield connection
