"""Sites as Dask workers: the only module that knows Dask, beside the one that starts a worker (worker.py).

Dask carries questions and answers and says which workers there are. What is measured where, and again, is decided in sites.py: Dask's own
retries are off, since its scheduler forgets everything when it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from bench.cluster.answering import answer
from bench.cluster.connection import Answered, LostSiteError, Question
from bench.cluster.quiet import SITE
from bench.core.errors import BenchError
from bench.core.formats import in_one_line

try:
    from distributed import Client, Future
    from distributed.security import Security
except ImportError as e:
    raise BenchError(
        "--cluster needs Dask, which is not installed; install it with: python -m pip install 'dynamicgate-bench[cluster]'"
    ) from e

#: Seconds to find a scheduler, and to find it again.
_PATIENCE, _AGAIN = 10, 1


class DaskConnection:
    """A scheduler that runs. Raises BenchError where none is found, or one of another Dask version."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._futures: dict[Any, str] = {}
        try:
            self._client = _client(address, _PATIENCE)
        except (OSError, ValueError, TypeError, ImportError) as e:  # TypeError: TLS without certificates
            raise BenchError(
                f"--cluster {address}: no Dask scheduler answers there within {_PATIENCE} seconds ({in_one_line(str(e))[:200]}); start one with "
                "`dask scheduler`, and look at address, certificates and firewall"
            ) from e
        theirs = self._client.get_versions()["scheduler"]["packages"]["distributed"]
        if theirs != (ours := version("distributed")):
            self.close()
            raise BenchError(
                f"--cluster {address}: its scheduler has Dask {theirs} and this machine {ours}; install the same version at both"
            )

    def sites(self) -> Mapping[str, str]:
        if self._client.status == "closed":  # it has looked for its scheduler, and given up
            with suppress(Exception):
                self._client.close(timeout=_AGAIN)
            try:
                self._client = _client(self._address, _AGAIN)
            except OSError:
                return {}
        if self._client.status != "running":
            return {}
        try:  # not `scheduler_info`, whose answer is what a periodic call stored last, which may be without workers
            workers = self._client.sync(self._client.scheduler.identity, n_workers=-1)["workers"]
        except Exception:  # the connection is lost, which the status tells by the next time
            return {}
        return {address: str(w["name"]) for address, w in workers.items() if w["resources"].get(SITE)}

    def ask(self, address: str, question: Question, payload: str, answered: Answered) -> None:
        try:
            future = self._client.submit(
                answer,
                question,
                payload,
                workers=[address],
                allow_other_workers=False,
                resources=None if question == "report" else {SITE: 1},  # it says what it is while it works
                pure=False,  # the same question is asked again
                retries=0,
            )
        except Exception:  # the client is closed
            answered(LostSiteError(everywhere=True))
            return
        self._futures[future] = address

        def done(ended: Future[str]) -> None:  # in the one thread that Dask has for all of these: it must not wait
            try:
                if ended.status == "finished":
                    answered(ended.result(timeout=_PATIENCE))
                elif ended.status == "error":  # before our function began: the program is not there
                    answered(
                        LostSiteError(
                            f"cannot do what it is asked ({in_one_line(str(ended.exception(timeout=_PATIENCE)))[:200]})"
                        )
                    )
                else:
                    answered(LostSiteError(everywhere=True))
            except Exception:
                answered(LostSiteError())
            finally:
                self._futures.pop(ended, None)

        future.add_done_callback(done)

    def forget(self, address: str) -> None:
        # else Dask would wait for ever for a worker at this address
        with suppress(Exception):
            self._client.cancel([f for f, asked in list(self._futures.items()) if asked == address], force=True)

    def close(self) -> None:
        with suppress(Exception):
            self._client.close(timeout=2)


def _client(address: str, timeout: int) -> Client:
    return Client(address, timeout=timeout, set_as_default=False, name="dynamicgate-bench", security=Security())
