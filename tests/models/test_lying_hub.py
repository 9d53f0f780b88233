"""A hub that lies: each kind of lie ends in one line, soon, and leaves nothing wrong behind."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.models import download as downloading
from bench.models import exchange
from bench.models.answers import HubFile, HubRepo
from bench.models.download import download
from bench.models.hub import HubName, find, first_bytes
from bench.models.listed import listed
from bench.models.sources import gguf_models
from tests.support.hub_server import HubServer, hub_fixture  # noqa: F401

DATA = random.Random(1).randbytes(300_000)
NAME = HubName("owner/m")
FILE = HubName("owner/m", None, "m.gguf")
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "_PAUSE", 0.0)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """To be called before a hub is slow; until then it gets the time that it needs on a machine with other work."""
    return lambda: monkeypatch.setattr(exchange, "PATIENCE", exchange.Patience(0.5, 0.6, 0.3, 0.8))


def error(does: Callable[[], Any]) -> str:
    """The error, which is one line and comes soon."""
    began = time.monotonic()
    with pytest.raises(BenchError) as e:
        does()
    assert time.monotonic() - began < 30
    text = str(e.value)
    assert text.startswith("hf:owner/m") and text.isprintable() and len(text) < 600
    return text


def model(hub: HubServer) -> HubRepo:
    hub.add_model("owner/m", {"m.gguf": DATA, "README.md": b"about"})
    return find(FILE)


def fetch(repo: HubRepo, tmp_path: Path) -> Path:
    return download(repo, repo.files[0], tmp_path / "cache", Reporter())


def blobs() -> dict[str, int]:
    return {p.name: p.stat().st_size for p in Path(os.environ["HF_HUB_CACHE"]).glob("models--*/blobs/*")}


# Answers of other types


def _set(value: Any, *keys: Any) -> Callable[[Any], Any]:
    def change(answer: Any) -> Any:
        if not keys:
            return value
        holder = answer
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = value
        return answer

    return change


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        ((), (None, 5, [], "x", {})),
        (("sha",), (None, 7, "", "main", "g" * 40, "0" * 39, "0" * 40 + "\n")),
        (("siblings",), (None, 1, "ab", {"a": 1}, [None], [[]], [{}])),
        (
            ("siblings", 1, "rfilename"),
            (
                None, 3, "", "x" * 100_000, "é" * 200, "a\0b", "a\nb", "\x1b[2J", "\u2028", "\u202egnp.exe", "\ud800", "../a", "a/../../b",
                "/a", "a//b", "./a", "a/", "README.md",
            ),
        ),
        (("siblings", 1, "lfs", "size"), (None, -1, 2**63, 10**30, 0.5, float("nan"), "5", True)),
        (("siblings", 0, "size"), (None, -1, [])),
        (("siblings", 1, "lfs", "sha256"), (5, "", "../../x", "A" * 64, "0" * 63)),
        (("siblings", 1, "blobId"), (None, "", "../../x")),
        (("siblings", 1, "lfs"), ("x", [], {}, 5)),
        (("gguf",), ([], "x", 5)),
    ],
)  # fmt: skip
def test_answer_of_another_kind(hub: HubServer, keys: tuple[Any, ...], values: tuple[Any, ...]) -> None:
    model(hub)
    for value in values:
        hub.faults.clear()
        hub.fault("/api/models/owner/m", change=_set(value, *keys))
        assert "does not answer as a hub does" in error(lambda: find(NAME)), value


@pytest.mark.parametrize(
    ("total", "n_weights"), [("many", None), (-5, None), (10**30, None), (True, None), (10**9, 10**9)]
)
def test_number_that_nothing_depends_on_may_be_of_any_kind(hub: HubServer, total: Any, n_weights: int | None) -> None:
    model(hub)
    hub.fault("/api/models/owner/m", change=lambda a: a | {"gguf": {"total": total}, "cardData": 5, "gated": []})
    found = find(NAME)
    assert (found.n_weights, len(found.files)) == (n_weights, 2)


def test_other_commit_than_the_one_that_was_asked_for(hub: HubServer) -> None:
    repo = model(hub)
    assert find(HubName("owner/m", repo.revision)).revision == repo.revision
    hub.fault("/api/models/*", change=_set("0" * 40, "sha"))
    assert "answers with commit 000000000000" in error(lambda: find(HubName("owner/m", repo.revision)))


def test_files_are_made_of_valid_answers_only() -> None:
    with pytest.raises(ValueError, match="no path inside a repository"):
        HubFile("../m.gguf", 5, None, "0" * 40)
    file = HubFile("m.gguf", 5, None, "0" * 40)
    with pytest.raises(ValueError, match="two files of one name"):
        HubRepo("owner/m", "0" * 40, (file, file))


@pytest.mark.parametrize("answer", [None, 7, {}, [None], [{"id": None}], {"branches": [{"name": 5}]}, {"branches": 5}])
def test_suggestions_that_are_none(hub: HubServer, answer: Any) -> None:
    model(hub)
    hub.fault("*", change=_set(answer))
    assert "has no revision v2; name a branch" in error(lambda: find(HubName("owner/m", "v2")))
    said = error(lambda: find(HubName("owner/mm")))
    assert "does not exist, or is private or gated; correct the name" in said


def test_texts_of_the_hub_in_messages(hub: HubServer) -> None:
    model(hub)
    hub.fault("*/refs", change=lambda a: {"branches": [{"name": "v\x1b[2J1\n2" + "x" * 10**5}], "tags": []})
    assert "it has v [2J1 2xxx" in error(lambda: find(HubName("owner/m", "zzz")))
    hub.fault("/api/models/owner/m", status=403, message="no \x9b2J" + "x" * 50_000)
    assert "refuses access (no  2Jxx".replace("  ", " ") in error(lambda: find(NAME))


@pytest.mark.parametrize("wait", ["9" * 4000, "-5", "soon", "1e9", "Wed, 21 Oct 2099 07:28:00 GMT", "\u0665"])
def test_wait_that_nobody_would(hub: HubServer, wait: str) -> None:
    model(hub)
    hub.fault("*", raw=f"HTTP/1.1 429 Wait\r\nRetry-After: {wait}\r\nContent-Length: 0\r\n\r\n".encode())
    assert "wait some minutes and run again" in error(lambda: find(NAME))


def test_a_hundred_thousand_parts_of_each_file() -> None:
    files = [HubFile(f"m{i}-00001-of-99999.gguf", 5, None, "0" * 40) for i in range(2000)]
    files += [HubFile("m-00001-of-00000.gguf", 5, None, "0" * 40)]  # a part of nothing is a file
    began = time.monotonic()
    assert len(gguf_models(files)) == 2001
    assert time.monotonic() - began < 2


def test_answers_of_millions_of_things(hub: HubServer) -> None:
    model(hub)
    for what in (b"{},", b"[],", b'"",'):
        for key in (b'"siblings"', b'"else"'):
            body = b'{"sha":"' + b"a" * 40 + b'",' + key + b":[" + what * 2_000_000 + b"1]}"
            hub.faults.clear()
            hub.fault("*", raw=OK + b"\r\n" + body)
            if key == b'"else"':
                assert find(NAME).files == ()
            else:
                assert "(siblings.0" in error(lambda: find(NAME))


# On the wire


@pytest.mark.parametrize(
    "what",
    [
        {"raw": OK + b"Content-Length: 99\r\n\r\n{}", "drip": 0.1},  # the head, byte by byte
        {"raw": OK + b"\r\n", "repeat": b" ", "drip": 0.02},  # the body
        {"raw": OK + b"Transfer-Encoding: chunked\r\n\r\n5;", "repeat": b"x", "drip": 0.02},
        {"raw": b"", "repeat": b"HTTP/1.1 100 Continue\r\n\r\n"},
    ],
)  # fmt: skip
def test_answers_without_end(hub: HubServer, impatient: Callable[[], None], what: dict[str, Any]) -> None:
    model(hub)
    impatient()
    hub.fault("*", **what)
    assert "did not answer within 1 s; wait and run again" in error(lambda: find(NAME))


@pytest.mark.parametrize(
    ("what", "part"),
    [
        ({"raw": OK, "repeat": b"X-Name: value\r\n" * 1000}, "cannot be reached"),
        ({"raw": OK + b"X-Name: ", "repeat": b"x" * 1000}, "cannot be reached"),
        ({"raw": OK + b"\r\n", "repeat": b"[" * 2**16}, "sends more than"),
        ({"raw": OK + b"Content-Length: 99999999999999999999\r\n\r\n", "repeat": b" " * 2**16}, "sends more than"),
        ({"raw": OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(2**22))}, "sends compressed content"),
        ({"raw": OK + b"\r\n" + b"[" * 100_000}, "does not answer as a hub does"),
        ({"raw": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"}, "cannot be reached"),
        ({"raw": OK + b"Content-Length: 50\r\n\r\n{}"}, "cannot be reached"),
        ({"raw": b"HTTP/1.1 200 \x1b]0;owned\x07\r\n\r\n"}, "a"),
        ({"raw": b"SSH-2.0-OpenSSH\r\n"}, "cannot be reached"),
        ({"raw": b"HTTP/1.1 2"}, "cannot be reached"),
        ({"raw": b""}, "cannot be reached"),
        ({"raw": b"HTTP/1.1 302 Found\r\nLocation: /api/models/owner/m\r\n\r\n"}, "leads from one address to the next"),
        ({"raw": b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n", "repeat": bytes(2**16)}, "leads from one address"),
        ({"raw": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n"}, "cannot be reached"),
        ({"raw": b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n"}, "cannot be reached"),
        ({"raw": b"HTTP/1.1 302 Found\r\n\r\n"}, "status 302"),
        ({"raw": b"HTTP/1.1 204 Nothing\r\n\r\n"}, "status 204"),
        ({"raw": b"HTTP/1.1 999 What\r\n\r\n"}, "status 999"),
    ],
)  # fmt: skip
def test_lies_on_the_wire(hub: HubServer, what: dict[str, Any], part: str) -> None:
    model(hub)
    hub.fault("*", **what)
    assert part in error(lambda: find(NAME))


def test_first_bytes_that_come_slowly(hub: HubServer, impatient: Callable[[], None]) -> None:
    repo = model(hub)
    impatient()
    hub.fault("/cdn/*", raw=OK + b"\r\n", repeat=b"x", drip=0.02)
    assert "did not answer within" in error(lambda: first_bytes(repo, repo.files[0], 1000))


def test_first_bytes_from_elsewhere(hub: HubServer) -> None:
    repo = model(hub)
    other = b"HTTP/1.1 206 Part\r\nContent-Range: bytes 5-9/300000\r\nContent-Length: 5\r\n\r\n12345"
    hub.fault("/cdn/*", raw=other)
    assert "another part of a file" in error(lambda: first_bytes(repo, repo.files[0], 1000))
    assert listed("hf:owner/m").metadata == {}


# Downloads


def test_connection_slower_than_the_floor_is_broken_and_what_came_is_kept(
    hub: HubServer, impatient: Callable[[], None], tmp_path: Path
) -> None:
    repo = model(hub)
    impatient()
    hub.fault("/cdn/*", cut_after=100_000, times=1)
    hub.fault("/cdn/*", drip=0.01)
    said = error(lambda: fetch(repo, tmp_path))
    assert "m.gguf: broke off 4 times in a row" in said and "sent less than 32 KiB in 1 s" in said
    assert "run again, which goes on from the 0.1 of 0.3 MB that are here" in said
    ((name, n_bytes),) = blobs().items()
    assert name == f"{repo.files[0].sha256}.incomplete" and n_bytes > 100_000
    hub.faults.clear()
    assert fetch(repo, tmp_path).read_bytes() == DATA
    assert hub.asked("GET", "/cdn/*")[-1].headers["range"] == f"bytes={n_bytes}-"


def test_slow_download_above_the_floor_goes_on(
    hub: HubServer, impatient: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "FLOOR", 20)
    data = DATA[:700]
    hub.add_model("owner/m", {"m.gguf": data})
    hub.fault("/cdn/*", raw=OK + b"Content-Length: 700\r\n\r\n" + data, drip=0.003)
    repo = find(FILE)
    impatient()
    began = time.monotonic()
    assert fetch(repo, tmp_path).read_bytes() == data
    assert time.monotonic() - began > 2 * exchange.PATIENCE.slow
    assert len(hub.asked("GET", "/cdn/*")) == 1


def test_connections_that_bring_a_byte_and_break(hub: HubServer, tmp_path: Path) -> None:
    repo = model(hub)
    hub.fault("/cdn/*", cut_after=1)
    assert "broke off 4 times in a row" in error(lambda: fetch(repo, tmp_path))
    assert len(hub.asked("GET", "/cdn/*")) == 4


def test_no_more_bytes_are_written_than_the_file_has(hub: HubServer, tmp_path: Path) -> None:
    repo = model(hub)
    hub.fault("/cdn/*", raw=OK + b"\r\n" + DATA, repeat=bytes(2**16))
    assert fetch(repo, tmp_path).read_bytes() == DATA  # its hash is right
    hub.add_model("owner/m", {"m.gguf": b"?" * 1000})
    other = find(FILE)
    hub.faults.clear()
    hub.fault("/cdn/*", raw=OK + b"\r\n" + DATA, repeat=bytes(2**16))
    assert "sent something else twice (SHA-256" in error(lambda: fetch(other, tmp_path))
    assert list(blobs().values()) == [len(DATA)]


@pytest.mark.parametrize(
    "stated",
    [b"bytes 0-299999/300000", b"bytes 100001-299999/300000", b"bytes 100000-299999/300001", b"", b"bytes */300000",
     b"lines 1-2/3", b"bytes 100000-" + b"9" * 5000],
)  # fmt: skip
def test_another_part_than_the_one_that_was_asked_for(hub: HubServer, tmp_path: Path, stated: bytes) -> None:
    repo = model(hub)
    hub.fault("/cdn/*", cut_after=100_000, times=1)
    lie = b"HTTP/1.1 206 Part\r\nContent-Range: " + stated + b"\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000)
    hub.fault("/cdn/*", raw=lie, times=1)
    assert fetch(repo, tmp_path).read_bytes() == DATA
    assert ["range" in r.headers for r in hub.asked("GET", "/cdn/*")] == [False, True, False]  # then all of it


def test_part_where_all_was_asked_for(hub: HubServer, tmp_path: Path) -> None:
    repo = model(hub)
    hub.fault("/cdn/*", raw=b"HTTP/1.1 206 Part\r\nContent-Range: bytes 0-2/300000\r\nContent-Length: 3\r\n\r\nabc")
    assert "sends another part of the file" in error(lambda: fetch(repo, tmp_path))
    assert set(blobs().values()) == {0}


def test_part_that_is_shorter_than_asked_is_gone_on_from(hub: HubServer, tmp_path: Path) -> None:
    repo = model(hub)
    hub.fault("/cdn/*", cut_after=100_000, times=1)
    part = b"HTTP/1.1 206 Part\r\nContent-Range: bytes 100000-149999/300000\r\nContent-Length: 50000\r\n\r\n"
    hub.fault("/cdn/*", raw=part + DATA[100_000:150_000], times=1)
    assert fetch(repo, tmp_path).read_bytes() == DATA
    assert hub.asked("GET", "/cdn/*")[-1].headers["range"] == "bytes=150000-"


def test_end_without_a_length_is_that_of_the_connection(hub: HubServer, tmp_path: Path) -> None:
    repo = model(hub)
    hub.fault("/cdn/*", raw=OK + b"\r\n" + DATA[:150_000], times=1)
    assert fetch(repo, tmp_path).read_bytes() == DATA
    assert hub.asked("GET", "/cdn/*")[-1].headers["range"] == "bytes=150000-"


def test_server_whose_file_is_shorter_than_what_is_here(hub: HubServer, tmp_path: Path) -> None:
    repo = model(hub)
    hub.fault("/cdn/*", cut_after=100_000, times=1)
    hub.fault("/cdn/*", status=416, times=1)
    assert fetch(repo, tmp_path).read_bytes() == DATA


def test_head_that_breaks_off(hub: HubServer, tmp_path: Path) -> None:
    repo = model(hub)
    hub.fault("/cdn/*", raw=OK + b"Content-Le", times=3)
    assert fetch(repo, tmp_path).read_bytes() == DATA


def test_hub_that_changes_its_mind_about_a_commit(hub: HubServer, tmp_path: Path) -> None:
    repo = model(hub)
    path = fetch(repo, tmp_path)
    other = b"other" * 1000
    digest = hashlib.sha256(other).hexdigest()
    hub.objects[digest] = other
    hub.fault("/cdn/*", content=other)
    changed = HubRepo(repo.repo, repo.revision, (HubFile("m.gguf", len(other), digest, repo.files[0].oid),))
    assert fetch(changed, tmp_path).read_bytes() == other
    for blob in path.parents[2].glob("blobs/*"):  # each under its own name
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    hub.faults.clear()
    assert fetch(repo, tmp_path).read_bytes() == DATA
