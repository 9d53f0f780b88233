"""Models from the Hugging Face hub: `hf:owner/repo@revision:file`, pinned to a commit, downloaded once and verified.

Files go into huggingface_hub's own cache, which the user's other programs share, in its documented layout
(https://huggingface.co/docs/huggingface_hub/guides/manage-cache): `blobs/` by hash, `snapshots/COMMIT/` with links to them.
The library itself drops what it has of a file when a download is interrupted; here it stays in `blobs/HASH.incomplete`
and the next run goes on from there. A file takes its place in the cache only after its hash was checked.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench.errors import BenchError, nearest
from bench.gguf_io import complete_or_absent, file_sha256
from bench.progress import Reporter
from bench.shards import shard_names

# Read when huggingface_hub is imported, which nothing here does before it is needed.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_FORM = "write hf:OWNER/REPO, hf:OWNER/REPO@REVISION or hf:OWNER/REPO:FILE"
_TIMEOUT = 10.0  # seconds without a byte, as huggingface_hub has it
_RETRIES = 3  # in a row without a new byte
_PAUSE = 1.0  # seconds before each
_PASSING = (408, 500, 502, 503, 504)
_HTTP_LIMIT = 50 * 10**9  # bytes of a file that the hub serves without Xet


@dataclass(frozen=True)
class HubName:
    """A repository, at a branch, tag or commit if one is named, and the file or glob within it."""

    owner_repo: str
    revision: str | None = None
    file: str | None = None


@dataclass(frozen=True)
class HubFile:
    """A file of a repository: bytes of its content, its SHA-256 where the hub tells it, its name in git."""

    path: str
    n_bytes: int
    sha256: str | None
    oid: str


@dataclass(frozen=True)
class HubRepo:
    """A repository at one commit (40 hexadecimal digits) with those of its files that were asked for."""

    repo: str
    revision: str
    files: tuple[HubFile, ...]
    license: str | None = None
    gated: bool = False


def parse_hub_name(text: str) -> HubName:
    """Raises BenchError for what is not `hf:owner/repo[@revision][:file-or-glob]`."""
    m = re.fullmatch(r"hf:([^@:]*)(@[^:]*)?(:.*)?", text)
    if not m:
        raise BenchError(f"{text}: is no name of a model on the hub; {_FORM}")
    repo, revision, file = m.groups()
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*", repo, re.ASCII):
        raise BenchError(f"{text}: {repo or 'nothing'} is not OWNER/REPO as the hub writes it; {_FORM}")
    for part, what in ((revision, "revision after @"), (file, "file after :")):
        if part is not None and not part[1:].strip():
            raise BenchError(f"{text}: the {what} is missing; {_FORM}")
    return HubName(repo, revision and revision[1:], file and file[1:])


def find(name: HubName) -> HubRepo:
    """The repository at the commit that the revision stands for now, with the files that the name asks for.

    A glob without a folder matches in folders too; the name of one part of a split file stands for all of its parts.
    Raises BenchError for what does not exist, may not be read or cannot be reached.
    """
    from huggingface_hub import HfApi

    with _explained(name.owner_repo, name.revision):
        info = HfApi(endpoint=_endpoint()).model_info(
            name.owner_repo, revision=name.revision, files_metadata=True, timeout=_TIMEOUT
        )
        files = tuple(
            HubFile(s.rfilename, s.lfs.size if s.lfs else s.size or 0, s.lfs.sha256 if s.lfs else None, s.blob_id or "")
            for s in info.siblings or ()
        )
        license = getattr(info.card_data, "license", None)
    if name.file is not None:
        files = _matching(files, name.owner_repo, name.file)
    return HubRepo(
        name.owner_repo, info.sha or "", files, license if isinstance(license, str) else None, bool(info.gated)
    )


def shards(repo: HubRepo, name: str) -> list[HubFile]:
    """The files of the repository that make up the file `name`, in order. Raises BenchError when one is missing."""
    by_path = {f.path: f for f in repo.files}
    missing = [n for n in shard_names(name) if n not in by_path]
    if missing:
        of = "" if missing == [name] else f", a part of {name}"
        raise BenchError(
            f"hf:{repo.repo}: has no file {missing[0]}{of}{nearest(missing[0], by_path)}; choose another file"
        )
    return [by_path[n] for n in shard_names(name)]


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
    folder = _folder(repo.repo)
    etag = file.sha256 or file.oid
    pointer = hub_cache() / folder / "snapshots" / repo.revision / file.path
    blob = hub_cache() / folder / "blobs" / etag
    if (
        not re.fullmatch(r"[0-9a-f]{40}", repo.revision)
        or not re.fullmatch(r"[0-9a-f]{40,64}", etag)
        or ".." in Path(file.path).parts
        or Path(file.path).is_absolute()
    ):
        raise BenchError(
            f"hf:{repo.repo}: names a file {file.path!r} at {repo.revision!r}, as no hub does; check HF_ENDPOINT"
        )
    with _explained(repo.repo, repo.revision):
        if pointer.exists() and _intact(pointer.resolve(), file, cache, reporter):
            return pointer  # without a lock: the cache may be one that others keep
        with _alone(hub_cache() / ".locks" / folder / f"{etag}.lock", file, reporter):
            kept = pointer.resolve() if pointer.exists() else blob
            if not kept.exists():
                _fetch_verified(repo, file, kept, cache, reporter)
            elif not _intact(kept, file, cache, reporter):
                reporter.warn(f"{kept}: is not what the hub has; downloading it again")
                _fetch_verified(repo, file, kept, cache, reporter)
            if not pointer.exists():
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
    """Go on with the partial file until the server has no more, over broken connections and passing errors of it."""
    import httpx2
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    url = hf_hub_url(repo.repo, file.path, revision=repo.revision, endpoint=_endpoint())
    partial.touch()
    failures = 0
    while (done := partial.stat().st_size) < file.n_bytes:
        headers = build_hf_headers() | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
        start = done
        try:
            with get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT) as response:
                hf_raise_for_status(response)
                if response.status_code != 206:  # a server that does not know ranges sends all of it
                    start = done = 0
                with partial.open("ab" if done else "wb") as f:
                    shown = 0.0
                    for chunk in response.iter_bytes():
                        f.write(chunk)
                        done += len(chunk)
                        if done / file.n_bytes - shown >= 0.002:
                            progress(shown := done / file.n_bytes)
            return
        except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError):
            failures = 1 if done > start else failures + 1
            if failures > _RETRIES:
                raise
        except HfHubHTTPError as e:
            failures += 1
            if e.response.status_code not in _PASSING or failures > _RETRIES:
                raise
        time.sleep(_PAUSE)


def _link(blob: Path, pointer: Path) -> None:
    pointer.parent.mkdir(parents=True, exist_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # a file system without links: there the library keeps the file itself in their place
        os.replace(blob, pointer)


def _intact(path: Path, file: HubFile, cache: Path, reporter: Reporter) -> bool:
    """Whether the file has the size and hash that it should have; its hash is taken from the note while that holds."""
    if path.stat().st_size != file.n_bytes or not file.sha256:
        return path.stat().st_size == file.n_bytes
    with suppress(OSError):
        return _note(path, cache).read_text(encoding="utf-8") == file.sha256
    digest = _hash(path, reporter)
    _keep_note(path, cache, digest)
    return digest == file.sha256


def _hash(path: Path, reporter: Reporter) -> str:
    with reporter.steps(f"Verifying {path.name[:12]}", 1) as steps:
        return file_sha256(path, steps.share)


def _keep_note(path: Path, cache: Path, digest: str) -> None:
    with complete_or_absent(_note(path, cache)) as partial:
        partial.write_text(digest, encoding="utf-8")


def _note(path: Path, cache: Path) -> Path:
    stat = path.stat()
    where = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return cache / "index" / f"{where}-{stat.st_size}-{stat.st_mtime_ns}.sha256"


def _matching(files: tuple[HubFile, ...], repo: str, wanted: str) -> tuple[HubFile, ...]:
    parts = set(shard_names(wanted))
    found = [f for f in files if f.path in parts] or [
        f for f in files if fnmatchcase(f.path, wanted) or fnmatchcase(f.path.rpartition("/")[2], wanted)
    ]
    if not found:
        paths = [f.path for f in files]
        some = sorted(paths, key=lambda p: not p.endswith(".gguf"))[:5]
        known = nearest(wanted.replace("*", ""), paths) or (f"; it has {', '.join(some)}" if some else "; it is empty")
        raise BenchError(f"hf:{repo}: has no file {wanted}{known}; name another file or glob")
    return tuple(found)


def _endpoint() -> str:
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE).expanduser().absolute()


@contextmanager
def _explained(repo: str, revision: str | None) -> Iterator[None]:
    """Turns what the library raises in the block into a BenchError with a remedy."""
    import httpx2

    try:
        yield
    except (httpx2.HTTPError, OSError, ValueError, KeyError, TypeError) as e:  # the last three: answers of another kind
        raise BenchError(" ".join(f"hf:{repo}: {_explanation(e, repo, revision)}".split())) from e


def _explanation(e: Exception, repo: str, revision: str | None) -> str:
    import httpx2
    from huggingface_hub import errors

    host = _endpoint()
    login = "log in with `hf auth login` (or set HF_TOKEN)"
    if isinstance(e, errors.GatedRepoError):
        return f"is gated; ask for access at {host}/{repo}, {login} and run again"
    if isinstance(e, errors.RevisionNotFoundError):
        refs = _told(f"/api/models/{repo}/refs") or {}
        known = [r["name"] for r in (*refs.get("branches", ()), *refs.get("tags", ()))]
        named = nearest(revision or "", known) or (f"; it has {', '.join(known[:5])}" if known else "")
        return f"has no revision {revision}{named}; name a branch, tag or commit"
    if isinstance(e, errors.HfHubHTTPError):
        status, told = e.response.status_code, e.response.headers.get("X-Error-Message", "")
        if status == 401 and "Invalid credentials" in told:
            return "the hub does not accept the token; log in again with `hf auth login` or correct HF_TOKEN"
        if isinstance(e, errors.RepositoryNotFoundError) or status in (401, 404):
            others = _told("/api/models", author=repo.partition("/")[0], limit="1000") or ()
            near = nearest(repo, (m["id"] for m in others))
            return f"does not exist, or is private or gated{near}; correct the name, or {login} and run again"
        if status == 403:
            return f"the hub refuses access ({told or 'status 403'}); check what the token may read"
        if status == 429:
            wait = e.response.headers.get("Retry-After", "")
            return f"too many requests (status 429); wait {f'{wait} s' if wait else 'some minutes'} and run again"
        return f"the hub answers with status {status}; wait and run again"
    if isinstance(e, errors.OfflineModeIsEnabled):
        return "cannot be looked up while HF_HUB_OFFLINE is set; unset it, or give the path of a file"
    if isinstance(e, httpx2.TimeoutException):
        return f"{host} did not answer within {_TIMEOUT:.0f} s; wait and run again"
    if isinstance(e, httpx2.HTTPError):
        return f"{host} cannot be reached ({e}); check the network and HF_ENDPOINT, then run again"
    if isinstance(e, OSError):
        return (
            f"{e.filename or hub_cache()}: cannot be written ({e.strerror or e}); free some space or set HF_HUB_CACHE"
        )
    return f"{host} does not answer as a hub does ({e}); check the network and HF_ENDPOINT"


def _told(path: str, **parameters: str) -> Any:
    """The hub's answer, for suggestions: None where it has none, which leaves a message without them.

    HfApi's own methods for lists try again for half a minute.
    """
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    with suppress(Exception):  # whatever it is, the error that is being explained matters more
        answer = get_session().get(_endpoint() + path, params=parameters, headers=build_hf_headers(), timeout=_TIMEOUT)
        return answer.raise_for_status().json()
    return None
