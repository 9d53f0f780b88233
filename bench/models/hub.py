"""Models on the Hugging Face hub: `hf:owner/repo@revision:file`, pinned to a commit; download.py fetches it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote

from bench.core.errors import BenchError, nearest
from bench.core.formats import in_one_line
from bench.gguf_files.shards import shard_names
from bench.models import exchange
from bench.models.answers import HubFile, HubRepo, repositories, repository, revisions
from bench.models.exchange import (
    ExchangeError,
    NoHubError,
    RefusedError,
    TooSlowError,
    answer,
    beginning,
)

# Read when huggingface_hub is imported, which nothing here does before it is needed.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_FORM = "write hf:OWNER/REPO, hf:OWNER/REPO@REVISION or hf:OWNER/REPO:FILE"
#: Bytes of an answer; a list of 50,000 files has some 300 for each.
_MOST_BYTES = 2**24
#: Names that are looked through for one that was meant, which takes milliseconds for each in the worst case.
_MOST_NAMES = 200


@dataclass(frozen=True)
class HubName:
    """A repository, at a branch, tag or commit if one is named, and the file or glob within it."""

    owner_repo: str
    revision: str | None = None
    file: str | None = None


def parse_hub_name(text: str) -> HubName:
    """Raises BenchError for what is not `hf:owner/repo[@revision][:file-or-glob]`."""
    m = re.fullmatch(r"hf:([^@:]*)(@[^:]*)?(:.*)?", text)
    if not m or not text.isprintable():
        raise BenchError(f"{in_one_line(text)}: is no name of a model on the hub; {_FORM}")
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
    at = f"/revision/{quote(name.revision, safe='')}" if name.revision else ""
    with explained(name.owner_repo, name.revision):
        told = answer(
            f"{endpoint()}/api/models/{name.owner_repo}{at}", _MOST_BYTES, exchange.PATIENCE.answer, {"blobs": "true"}
        )
        found = repository(name.owner_repo, name.revision, told)
    if name.file is not None:
        found = replace(found, files=_matching(found.files, name.owner_repo, name.file))
    return found


def first_bytes(repo: HubRepo, file: HubFile, n_bytes: int) -> bytes:
    """The beginning of a file, without the rest. Raises BenchError as a download would."""
    with explained(repo.repo, repo.revision):
        return beginning(address(repo, file), n_bytes)


def address(repo: HubRepo, file: HubFile) -> str:
    """Where a file is to be fetched from."""
    return f"{endpoint()}/{repo.repo}/resolve/{repo.revision}/{quote(file.path)}"


def shards(repo: HubRepo, name: str) -> list[HubFile]:
    """The files of the repository that make up the file `name`, in order. Raises BenchError when one is missing."""
    by_path = {f.path: f for f in repo.files}
    missing = [n for n in shard_names(name) if n not in by_path]
    if missing:
        of = "" if missing == [name] else f", a part of {name}"
        raise BenchError(
            f"hf:{repo.repo}: has no file {missing[0]}{of}{nearest(missing[0], list(by_path)[:_MOST_NAMES])}; choose another file"
        )
    return [by_path[n] for n in shard_names(name)]


def _matching(files: tuple[HubFile, ...], repo: str, wanted: str) -> tuple[HubFile, ...]:
    parts = set(shard_names(wanted))
    found = [f for f in files if f.path in parts] or [
        f for f in files if fnmatchcase(f.path, wanted) or fnmatchcase(f.path.rpartition("/")[2], wanted)
    ]
    if not found:
        paths = sorted((f.path for f in files), key=lambda p: not p.endswith(".gguf"))
        some = paths[:5]
        known = nearest(wanted.replace("*", ""), paths[:_MOST_NAMES]) or (
            f"; it has {', '.join(some)}" if some else "; it is empty"
        )
        raise BenchError(f"hf:{repo}: has no file {wanted}{known}; name another file or glob")
    return tuple(found)


def endpoint() -> str:
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def hub_trouble() -> str | None:
    """What keeps the hub from being asked, with a remedy; None where it answers."""
    try:
        with explained("any", None):
            answer(f"{endpoint()}/api/models", _MOST_BYTES, exchange.PATIENCE.answer, {"limit": "1"})
    except BenchError as e:
        return str(e).removeprefix("hf:any: ")
    return None


def hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(os.environ.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE).expanduser().absolute()


@contextmanager
def explained(repo: str, revision: str | None) -> Iterator[None]:
    """Turns what goes wrong with the hub in the block into a BenchError with a remedy."""
    import httpx2

    try:
        yield
    except (ExchangeError, httpx2.HTTPError, httpx2.InvalidURL, OSError) as e:
        raise BenchError(in_one_line(f"hf:{repo}: {_explanation(e, repo, revision)}")) from e


def _explanation(e: Exception, repo: str, revision: str | None) -> str:
    from huggingface_hub import errors

    host = endpoint()
    if isinstance(e, RefusedError):
        return _refusal(e, repo, revision)
    if isinstance(e, NoHubError):
        return f"{host} does not answer as a hub does ({e}); check the network and HF_ENDPOINT"
    if isinstance(e, TooSlowError):
        return f"{host} did not answer within {e.seconds:.0f} s; wait and run again"
    if isinstance(e, errors.OfflineModeIsEnabled):
        return "cannot be looked up while HF_HUB_OFFLINE is set; unset it, or give the path of a file"
    if isinstance(e, OSError):
        return (
            f"{e.filename or hub_cache()}: cannot be written ({e.strerror or e}); free some space or set HF_HUB_CACHE"
        )
    return f"{broken(e)}; check the network and HF_ENDPOINT, then run again"


def broken(e: Exception) -> str:
    """What the HTTP library says of a connection, in words."""
    import httpx2

    if isinstance(e, httpx2.TimeoutException):
        return f"{endpoint()} did not answer within {exchange.PATIENCE.silence:.0f} s"
    return f"{endpoint()} cannot be reached ({in_one_line(str(e))[:200] or type(e).__name__})"


def _refusal(e: RefusedError, repo: str, revision: str | None) -> str:
    login = "log in with `hf auth login` (or set HF_TOKEN)"
    if e.code == "GatedRepo":
        return f"is gated; ask for access at {endpoint()}/{repo}, {login} and run again"
    if e.code == "RevisionNotFound":
        known = _suggestions(f"/api/models/{repo}/refs", revisions)
        named = nearest(revision or "", known) or (f"; it has {', '.join(known[:5])}" if known else "")
        return f"has no revision {revision}{named}; name a branch, tag or commit"
    if e.status == 401 and "Invalid credentials" in e.told:
        return "the hub does not accept the token; log in again with `hf auth login` or correct HF_TOKEN"
    if e.code == "RepoNotFound" or e.status in (401, 404):
        near = nearest(
            repo, _suggestions("/api/models", repositories, {"author": repo.partition("/")[0], "limit": "1000"})
        )
        return f"does not exist, or is private or gated{near}; correct the name, or {login} and run again"
    if e.status == 403:
        return f"the hub refuses access ({e.told or 'status 403'}); check what the token may read"
    if e.status == 429:
        return f"too many requests (status 429); wait {f'{e.wait} s' if e.wait else 'some minutes'} and run again"
    return f"the hub answers with status {e.status}; wait and run again"


def _suggestions(
    path: str, names: Callable[[bytes], list[str]], parameters: Mapping[str, str] | None = None
) -> list[str]:
    """Names that may have been meant; none where the hub does not tell them, which leaves a message without them."""
    import httpx2

    with suppress(ExchangeError, httpx2.HTTPError, OSError):
        return names(answer(endpoint() + path, _MOST_BYTES, exchange.PATIENCE.suggestion, parameters))
    return []
