"""What is on the Hugging Face hub: `hf:owner/repo@revision:file`, pinned to a commit; download.py fetches it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, nearest
from bench.gguf_files.shards import shard_names

# Read when huggingface_hub is imported, which nothing here does before it is needed.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_FORM = "write hf:OWNER/REPO, hf:OWNER/REPO@REVISION or hf:OWNER/REPO:FILE"
TIMEOUT = 10.0  # seconds without a byte, as huggingface_hub has it


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
    """A repository at one commit (40 hexadecimal digits) with those of its files that were asked for. n_weights: of its GGUF
    models, where the hub tells it."""

    repo: str
    revision: str
    files: tuple[HubFile, ...]
    license: str | None = None
    gated: bool = False
    n_weights: int | None = None


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

    with explained(name.owner_repo, name.revision):
        info = HfApi(endpoint=endpoint()).model_info(
            name.owner_repo, revision=name.revision, files_metadata=True, timeout=TIMEOUT
        )
        files = tuple(
            HubFile(s.rfilename, s.lfs.size if s.lfs else s.size or 0, s.lfs.sha256 if s.lfs else None, s.blob_id or "")
            for s in info.siblings or ()
        )
        license = getattr(info.card_data, "license", None)
        n_weights = (info.gguf or {}).get("total")
    if name.file is not None:
        files = _matching(files, name.owner_repo, name.file)
    return HubRepo(
        name.owner_repo,
        info.sha or "",
        files,
        license if isinstance(license, str) else None,
        bool(info.gated),
        n_weights if isinstance(n_weights, int) and n_weights > 0 else None,
    )


def first_bytes(repo: HubRepo, file: HubFile, n_bytes: int) -> bytes:
    """The beginning of a file, without the rest. Raises BenchError as a download would."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    with explained(repo.repo, repo.revision):
        url = hf_hub_url(repo.repo, file.path, revision=repo.revision, endpoint=endpoint())
        headers = {**build_hf_headers(), "Range": f"bytes=0-{n_bytes - 1}"}
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as answer:
            answer.raise_for_status()
            found = b""
            for block in answer.iter_bytes():  # a server that does not know ranges sends all of it
                found += block
                if len(found) >= n_bytes:
                    break
    return found[:n_bytes]


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


def endpoint() -> str:
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE).expanduser().absolute()


@contextmanager
def explained(repo: str, revision: str | None) -> Iterator[None]:
    """Turns what the library raises in the block into a BenchError with a remedy."""
    import httpx2

    try:
        yield
    except (httpx2.HTTPError, OSError, ValueError, KeyError, TypeError) as e:  # the last three: answers of another kind
        raise BenchError(" ".join(f"hf:{repo}: {_explanation(e, repo, revision)}".split())) from e


def _explanation(e: Exception, repo: str, revision: str | None) -> str:
    import httpx2
    from huggingface_hub import errors

    host = endpoint()
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
        return f"{host} did not answer within {TIMEOUT:.0f} s; wait and run again"
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
        answer = get_session().get(endpoint() + path, params=parameters, headers=build_hf_headers(), timeout=TIMEOUT)
        return answer.raise_for_status().json()
    return None
