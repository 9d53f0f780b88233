"""Requests to the hub, with limits on total time, bytes and redirects. They end, whatever the other side sends.

A timeout of the HTTP library counts seconds without a byte, so a server that sends one byte a second never reaches it. A Watch
limits the total time, and shuts the connection at its end.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from bench.core.formats import in_one_line

if TYPE_CHECKING:
    import ssl

    import httpx2

#: Characters of a text of the hub that are shown.
_SHOWN = 200
_REDIRECTS = 10


@dataclass(frozen=True)
class Patience:
    """Seconds. silence: without a byte; answer: for one with all of its bytes; suggestion: for one that is only a help;
    slow: in which a download must bring FLOOR bytes."""

    silence: float = 10.0
    answer: float = 15.0
    suggestion: float = 5.0
    slow: float = 10.0


#: A hub that does not answer is told within a minute, the tries of a download included.
PATIENCE = Patience()
#: Bytes that a download brings within PATIENCE.slow, or else its connection counts as broken.
FLOOR = 2**15


class ExchangeError(Exception):
    """An exchange with the hub that did not come to its end."""


class RefusedError(ExchangeError):
    """An answer with another status than 200 and 206. code, told, wait: what the hub says of it, empty where it says nothing."""

    def __init__(self, response: httpx2.Response) -> None:
        told = response.headers
        self.status = response.status_code
        self.code = told.get("X-Error-Code", "")
        self.told = in_one_line(told.get("X-Error-Message", ""))[:_SHOWN]
        wait = told.get("Retry-After", "")
        self.wait = wait if wait.isdecimal() and wait.isascii() and len(wait) < 6 else ""
        super().__init__(f"status {self.status}")


class TooSlowError(ExchangeError):
    """The time was up. seconds: that there were."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"not within {seconds:g} s")


class NoHubError(ExchangeError):
    """What was answered is no answer of a hub; the text says why, in one line."""

    def __init__(self, why: str) -> None:
        super().__init__(in_one_line(why)[:_SHOWN])


class Watch:
    """Shuts the connection of an exchange when its time is up."""

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self._seconds, self._until = seconds, time.monotonic() + seconds
        self._socket: socket.socket | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._wait, daemon=True).start()

    def more_time(self) -> None:
        """Count from the beginning."""
        self._until = time.monotonic() + self._seconds

    def end(self) -> None:
        self._ended.set()

    def trace(self, event: str, told: dict[str, Any]) -> None:
        """Is called by the HTTP library at every step: whose connection it is, and whether there is time for the next one."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = told["return_value"].get_extra_info("socket")
        if self.expired and not event.endswith((".failed", "response_closed.started", "response_closed.complete")):
            raise TooSlowError(self._seconds)

    def _wait(self) -> None:
        while not self._ended.wait(max(self._until - time.monotonic(), 0)):
            if time.monotonic() >= self._until:
                self.expired = True
                break
        while self.expired and not self._ended.wait(0.05):  # until it is noticed: a connection may be made just now
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


@contextmanager
def within(seconds: float) -> Iterator[Watch]:
    """A watch over what is done in the block. Raises TooSlowError when the time was up before its end."""
    import httpx2

    watch = Watch(seconds)
    try:
        yield watch
    except httpx2.HTTPError as e:
        if watch.expired:
            raise TooSlowError(seconds) from e
        raise
    finally:
        watch.end()
    if watch.expired:  # a body without a length has ended as if it were whole
        raise TooSlowError(seconds)


@contextmanager
def asked(
    url: str, watch: Watch, byte_range: str | None = None, parameters: Mapping[str, str] | None = None
) -> Iterator[httpx2.Response]:
    """The answer to a request, with its content still to be read. byte_range: `0-99`, `100-`.

    Raises RefusedError, NoHubError, what the HTTP library raises, and OfflineModeIsEnabled. Redirects are followed here: the library
    would read all of their content first.
    """
    import httpx2
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    if is_offline_mode():
        raise OfflineModeIsEnabled(url)
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if byte_range:
        headers["Range"] = f"bytes={byte_range}"
    with httpx2.Client(
        timeout=PATIENCE.silence
    ) as client:  # of its own: a connection that was used before has no event
        request = client.build_request(
            "GET", url, params=parameters, headers=headers, extensions={"trace": watch.trace}
        )
        for _ in range(_REDIRECTS + 1):
            response = client.send(request, stream=True)
            try:
                if response.next_request is None:
                    _accept(response)
                    yield response
                    return
                request = response.next_request
            finally:
                response.close()
    raise NoHubError("it leads from one address to the next without end")


@cache
def _certificates() -> ssl.SSLContext:
    """Whom to believe, which takes a tenth of a second to read."""
    import httpx2

    return httpx2.create_ssl_context()


def _accept(response: httpx2.Response) -> None:
    if response.status_code not in (200, 206):
        raise RefusedError(response)
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise NoHubError("it sends compressed content, which was not asked for")


def answer(url: str, limit: int, seconds: float, parameters: Mapping[str, str] | None = None) -> bytes:
    """All of an answer. Raises NoHubError for one of more than `limit` bytes, and what `within` and `asked` do."""
    with within(seconds) as watch, asked(url, watch, parameters=parameters) as response:
        found = bytearray()
        for piece in response.iter_raw():
            found += piece
            if len(found) > limit:
                raise NoHubError(f"it sends more than {limit:,} bytes")
    return bytes(found)


def beginning(url: str, n_bytes: int) -> bytes:
    """The first bytes of a file; a server that does not know ranges sends all of it, which is not read."""
    with within(PATIENCE.answer) as watch, asked(url, watch, f"0-{n_bytes - 1}") as response:
        if response.status_code == 206 and first_of(response) != 0:
            raise NoHubError("it sends another part of a file than was asked for")
        found = bytearray()
        for piece in response.iter_raw():
            found += piece
            if len(found) >= n_bytes:
                break
    return bytes(found[:n_bytes])


def first_of(response: httpx2.Response, n_bytes: int | None = None) -> int | None:
    """The place in the file that an answer with a part of it begins at; None where it does not say so, or that the file has another
    length than n_bytes."""
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", response.headers.get("Content-Range", ""), re.A)
    if not found or (n_bytes is not None and found[3] not in ("*", str(n_bytes))):
        return None
    return int(found[1])
