"""A hub on this machine that lies, in a process of its own: commands are forked from this one, which must have no threads."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.stress.hostile import NAMES, replaced
from tests.support.hub_server import Fault, HubServer

REPO = "owner/tiny-GGUF"
_OK = b"HTTP/1.1 200 OK\r\n"


@dataclass
class Hub:
    """url: where it listens; known once it has ended: requests: (path, Range) of each; received: {path: SHA-256} of what was sent
    to it, whether a commit named it or not."""

    url: str
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    received: dict[str, str] = field(default_factory=dict)


@contextmanager
def serving(files: dict[str, bytes], faults: Sequence[Fault], notes: Path) -> Iterator[Hub]:
    """A hub that has one repository and the faults. notes: a file for what it was asked."""
    told, tell = os.pipe()
    ended, end = os.pipe()
    if not (pid := os.fork()):
        with suppress(BaseException):
            os.close(end)
            _serve(files, faults, notes, tell, ended)
        os._exit(0)
    os.close(tell)
    os.close(ended)
    try:
        with os.fdopen(told) as f:
            hub = Hub(f.readline().strip())
        yield hub
    finally:
        os.close(end)
        os.waitpid(pid, 0)
    with suppress(FileNotFoundError):
        noted = json.loads(notes.read_text())
        hub.requests, hub.received = [(path, part) for path, part in noted["requests"]], noted["received"]
        notes.unlink()


def _serve(files: dict[str, bytes], faults: Sequence[Fault], notes: Path, tell: int, ended: int) -> None:
    with HubServer() as server:
        server.add_model(REPO, dict(files), license="mit")
        server.faults += faults
        there = set(server.objects)
        os.write(tell, f"{server.url}\n".encode())
        os.close(tell)
        os.read(ended, 1)  # until the other end is closed, or its process is gone
        asked = [(r.path, r.headers.get("range")) for r in server.requests]
        sent = {name: _sha256(data) for commit in server.committed for name, data in commit.files.items()}
        loose = {digest: digest for digest in set(server.objects) - there - set(sent.values())}
        notes.write_text(json.dumps({"requests": asked, "received": sent | loose}))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def of_structure(rng: random.Random) -> Fault:
    """Its answers as JSON, changed: the same way each time, or each time in another."""
    seed, again, asked = rng.random(), rng.random() < 0.3, [0]

    def change(answer: Any) -> Any:
        asked[0] += again
        return replaced(random.Random(f"{seed} {asked[0]}"), answer)

    path = f"/api/models/{REPO}" if rng.random() < 0.8 else "/api/*"
    return Fault(path, change=change, skip=rng.choice((0, 0, 0, 1)))


def on_the_wire(rng: random.Random, path: str, data: bytes) -> Fault:
    """What is sent for a path: refusals, ends in the middle, slowness, other bytes. data: what would be right."""
    name = rng.choice(NAMES).encode("utf-8", "replace").replace(b"\n", b" ").replace(b"\r", b" ")[:60_000]
    at = rng.randrange(len(data))
    few = {"times": rng.choice((None, 1, 2, 3)), "skip": rng.choice((0, 0, 1))}
    lies: list[dict[str, Any]] = [
        {"status": rng.choice((400, 401, 403, 404, 408, 410, 416, 418, 429, 451, 500, 502, 503, 504, 599)), **few,
         "code": rng.choice((None, "GatedRepo", "RepoNotFound", "RevisionNotFound", "EntryNotFound", "What"))},
        {"raw": b"HTTP/1.1 %d No\r\nX-Error-Message: %s\r\nX-Error-Code: %s\r\nRetry-After: %s\r\n\r\n%s"
                % (rng.choice((401, 403, 404, 429, 503)), name, rng.choice((b"RevisionNotFound", name)), rng.choice((b"9" * 50, b"-1", name)), name)},
        {"raw": b"HTTP/1.1 %d There\r\nLocation: %s\r\n\r\n"
                % (rng.choice((301, 302, 303, 307, 308)), rng.choice((b"/", b"file:///etc/passwd", b"//", b"http://[", b"http://127.0.0.1:1/", name)))},
        {"raw": b"HTTP/1.1 %d What\r\n\r\n%s" % (rng.choice((100, 101, 199, 201, 204, 205, 206, 207, 300, 304, 999)), data[:at])},
        {"cut_after": rng.choice((0, 1, at)), "reset": rng.random() < 0.5, **few},
        {"raw": _OK[: rng.randrange(len(_OK) + 1)]},
        {"raw": _OK + b"Content-Length: %d\r\n\r\n" % (len(data) + rng.choice((-1, 1, 10**6, 10**15))) + data, **few},
        {"raw": _OK + b"\r\n" + data[:at], **few},
        {"raw": _OK + b"\r\n" + data, "repeat": bytes(2**16), **few},
        {"raw": _OK + b"Transfer-Encoding: chunked\r\n\r\n" + rng.choice((b"5\r\nab", b"zz\r\n", b"-1\r\n", b"f" * 30 + b"\r\n", b"5;", b"0\r\nA: b")),
         "repeat": rng.choice((b"", b"x" * 100))},
        {"raw": _OK + rng.choice((b"", b"\r\n", b"X: ")), "repeat": rng.choice((b"x", b"A: b\r\n", b" ")), "drip": 0.05},
        {"raw": _OK + rng.choice((b"", b"X: ")), "repeat": rng.choice((b"A: b\r\n", b"x")) * 1000},
        {"raw": _OK + b"Content-Encoding: %s\r\n\r\n" % rng.choice((b"gzip", b"deflate", b"br", b"gzip, gzip", name)) + data},
        {"raw": b"HTTP/1.1 206 Part\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n"
                % (at, len(data) - 1, len(data) + rng.choice((0, 1)), len(data) - at) + data[at:], **few},
        {"raw": b"HTTP/1.1 206 Part\r\nContent-Range: %s\r\n\r\n" % rng.choice((b"bytes */5", b"bytes 0-" + b"9" * 5000, b"", name)) + data, **few},
        {"content": rng.choice((b"", data[:at], data + b"?", data[:at] + b"?" + data[at + 1 :], bytes(len(data)))), **few},
        {"ignore_range": True},
        {"raw": rng.randbytes(rng.choice((1, 100, 10_000)))},
    ]  # fmt: skip
    return Fault(path, **rng.choice(lies))
