"""Files of the hub, fetched into huggingface_hub's own cache: resumed, verified, in place only when they are correct.

The cache's layout is the documented one (https://huggingface.co/docs/huggingface_hub/guides/manage-cache): `blobs/` by hash,
`snapshots/COMMIT/` with links to them. The library itself discards a partial file when a download is interrupted. Here it stays in
`blobs/HASH.incomplete`, and the next run continues it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.core.checked import FileNote, read_checked, write_checked
from bench.core.errors import BenchError
from bench.core.files import file_sha256
from bench.core.progress import Reporter
from bench.models import exchange
from bench.models.answers import HubFile, HubRepo
from bench.models.exchange import FLOOR, ExchangeError, RefusedError, TooSlowError, asked, first_of, within
from bench.models.hub import address, broken, endpoint, explained, hub_cache

_RETRIES = 3  # in a row without bytes worth the name
_PAUSE = 1.0  # seconds before each
_PASSING = (408, 500, 502, 503, 504)
_HTTP_LIMIT = 50 * 10**9  # bytes of a file that the hub serves without Xet


class _OtherPartError(ExchangeError):
    """Bytes of another place in the file than those that were asked for."""


def is_here(repo: HubRepo, file: HubFile) -> bool:
    """Whether a file is in huggingface_hub's cache. What an interrupted download left counts as missing."""
    return (hub_cache() / _folder(repo.repo) / "snapshots" / repo.revision / file.path).exists()


def _folder(repo: str) -> str:
    return f"models--{repo.replace('/', '--')}"


def download(repo: HubRepo, file: HubFile, cache: Path, reporter: Reporter) -> Path:
    """The file in huggingface_hub's cache, fetched if it is not there, with the size and hash that the hub tells.

    cache: keeps notes of what was verified, so that a file is hashed once for as long as its size and time stay the same.
    Raises BenchError when there is no room, when the hub cannot be reached, or when it twice sends something else.
    """
    folder = hub_cache() / _folder(repo.repo)
    etag = file.sha256 or file.oid
    pointer, blob = folder / "snapshots" / repo.revision / file.path, folder / "blobs" / etag
    with explained(repo.repo, repo.revision):
        if pointer.exists() and _intact(pointer.resolve(), file, cache, reporter):
            return pointer  # without a lock: the cache may be one that others keep
        with _alone(hub_cache() / ".locks" / folder.name / f"{etag}.lock", file, reporter):
            # Never into the file that the pointer leads to: that may be another one, under its own hash.
            if not (blob.exists() and _intact(blob, file, cache, reporter)):
                if blob.exists() or pointer.exists():
                    reporter.warn(f"{pointer}: is not what the hub has; downloading it again")
                _fetch_verified(repo, file, blob, cache, reporter)
            _link(blob, pointer)
    return pointer


@contextmanager
def _alone(path: Path, file: HubFile, reporter: Reporter) -> Iterator[None]:
    """Holds the lock that huggingface_hub takes for the same file."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, mode=0o664)
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        reporter.say(f"Waiting for another program that downloads {file.path}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch_verified(repo: HubRepo, file: HubFile, target: Path, cache: Path, reporter: Reporter) -> None:
    partial = target.with_name(f"{target.name}.incomplete")
    target.parent.mkdir(parents=True, exist_ok=True)
    missing = file.n_bytes - (partial.stat().st_size if partial.exists() else 0)
    if file.n_bytes > _HTTP_LIMIT:
        raise BenchError(
            f"hf:{repo.repo}:{file.path}: has {file.n_bytes / 1e9:.1f} GB, and above {_HTTP_LIMIT / 1e9:.0f} the hub wants Xet; "
            f"run `hf download {repo.repo} {file.path} --revision {repo.revision}`, then this again"
        )
    free = shutil.disk_usage(target.parent).free
    if free < missing:
        raise BenchError(
            f"{file.path}: needs {missing / 1e9:.1f} GB and {target.parent} has {free / 1e9:.1f} GB free; "
            "free some space or set HF_HUB_CACHE to another directory"
        )
    for _ in range(2):
        with reporter.steps(f"Downloading {file.path}", 1) as steps:
            _fetch(repo, file, partial, steps.share)
        found = partial.stat().st_size
        wrong = f"{found} bytes instead of {file.n_bytes}" if found != file.n_bytes else ""
        if not wrong and not file.sha256 and (named := _git_name(partial)) != file.oid:
            wrong = f"git's name {named} instead of {file.oid}"
        if not wrong and file.sha256:
            digest = _hash(partial, reporter)
            wrong = f"SHA-256 {digest} instead of {file.sha256}" if digest != file.sha256 else ""
        if not wrong:
            os.replace(partial, target)
            if file.sha256:
                _keep_note(target, cache, file.sha256)
            return
        partial.unlink()
    raise BenchError(
        f"hf:{repo.repo}:{file.path}: the hub sent something else twice ({wrong}); run again later, or give a file of your own"
    )


def _fetch(repo: HubRepo, file: HubFile, partial: Path, progress: Callable[[float], None]) -> None:
    """Go on with the partial file until it is as long as it should be, or the server has no more.

    Broken connections and passing errors are tried again. Raises BenchError when they go on, which says what is kept.
    """
    import httpx2

    partial.touch()
    failures, ranges = 0, True
    while (before := partial.stat().st_size) < file.n_bytes:
        try:
            if _fetch_once(repo, file, partial, before if ranges else 0, progress):
                return
            reason = f"{endpoint()} sends less than was asked for"
        except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError) as e:
            reason = broken(e)
        except TooSlowError as e:
            reason = f"{endpoint()} sent less than {FLOOR // 1024} KiB in {e.seconds:.0f} s"
        except _OtherPartError as e:
            ranges, reason = False, f"{endpoint()} {e}"
        except RefusedError as e:
            if e.status == 416 and before and ranges:  # what is here is longer than the file that it has
                ranges = False
            elif e.status not in _PASSING or failures == _RETRIES:
                raise
            reason = f"status {e.status}"
        # A connection that brings a byte and breaks is none that holds.
        failures = 1 if partial.stat().st_size - before >= FLOOR else failures + 1
        if failures > _RETRIES:
            done = partial.stat().st_size / 1e6
            raise BenchError(
                f"hf:{repo.repo}:{file.path}: broke off {failures} times in a row ({reason}); check the network and run again, which goes "
                f"on from the {done:.1f} of {file.n_bytes / 1e6:.1f} MB that are here"
            )
        time.sleep(_PAUSE)


def _fetch_once(repo: HubRepo, file: HubFile, partial: Path, start: int, progress: Callable[[float], None]) -> bool:
    """Fetch what one connection brings, from the byte `start` on, and no more bytes than the file has.

    Returns whether there is nothing more to come: all bytes are here, or the server says that it has no more.
    """
    with (
        within(exchange.PATIENCE.slow) as watch,
        asked(address(repo, file), watch, f"{start}-" if start else None) as response,
    ):
        part = response.status_code == 206
        if part and (not start or first_of(response, file.n_bytes) != start):
            raise _OtherPartError("sends another part of the file than was asked for")
        if not part:  # a server that does not know ranges sends all of it
            start = 0
        done = counted = start
        with partial.open("ab" if part else "wb") as f:
            shown = 0.0
            for chunk in response.iter_raw():
                f.write(chunk[: file.n_bytes - done])
                done += len(chunk)
                if done - counted >= FLOOR:
                    watch.more_time()
                    counted = done
                if min(done / file.n_bytes, 1) - shown >= 0.002:
                    progress(shown := min(done / file.n_bytes, 1))
                if done >= file.n_bytes:
                    return True
        sized = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
        return sized and not part  # without a length the end may be that of the connection


def _link(blob: Path, pointer: Path) -> None:
    pointer.parent.mkdir(parents=True, exist_ok=True)
    if pointer.is_symlink():
        if pointer.resolve() == blob.resolve():
            return
        pointer.unlink()
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # a file system without links: there the library keeps the file itself in their place
        os.replace(blob, pointer)


def _intact(path: Path, file: HubFile, cache: Path, reporter: Reporter) -> bool:
    """Whether the file has the size and hash that it should have; its hash is taken from the note while that holds."""
    if path.stat().st_size != file.n_bytes:
        return False
    if not file.sha256:  # a small file
        return _git_name(path) == file.oid
    note = read_checked(_note(path, cache), FileNote, reporter.warn)
    if note is not None:
        return note.sha256 == file.sha256
    digest = _hash(path, reporter)
    _keep_note(path, cache, digest)
    return digest == file.sha256


def _git_name(path: Path) -> str:
    """What git names a file's content by: of small files the hub tells that, and no SHA-256."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as f:
        while block := f.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _hash(path: Path, reporter: Reporter) -> str:
    with reporter.steps(f"Verifying {path.name[:12]}", 1) as steps:
        return file_sha256(path, steps.share)


def _keep_note(path: Path, cache: Path, digest: str) -> None:
    write_checked(_note(path, cache), FileNote(sha256=digest))


def _note(path: Path, cache: Path) -> Path:
    stat = path.stat()
    where = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return cache / "index" / f"{where}-{stat.st_size}-{stat.st_mtime_ns}.sha256"
