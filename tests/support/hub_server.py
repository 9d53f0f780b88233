"""A model hub on this machine: enough of its protocol for `huggingface_hub` and `datasets` to talk to it unchanged.

    with HubServer() as server:
        commit = server.add_model("owner/model-GGUF", {"model-F16.gguf": data, "README.md": b"---\\nlicense: mit\\n---\\n"})
        server.fault("*/resolve/*", status=500, times=1)
        ...                                   # HF_ENDPOINT is server.url
        server.requests[0].path               # what was asked
        server.committed[0].files             # what was pushed

Files with a suffix of LFS (or longer than 1 MB) are served as the hub serves them: a redirect to another host, here a
second port, with the hash and the length in X-Linked-Etag and X-Linked-Size. The token of `server.tokens` is `hf_test`,
of the user `tester`. Tests get a server and the environment for it from the fixture `hub`, which a
test module imports as `hub_fixture`.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

_LFS = (".gguf", ".safetensors", ".bin", ".parquet", ".arrow", ".zst", ".gz", ".zip", ".png", ".dat")
_PREFIXES = {"models": "", "datasets": "datasets/"}


@dataclass(frozen=True)
class Blob:
    """A file's content with the names that the hub gives it."""

    data: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def oid(self) -> str:
        """Git's name of the file: of the content itself, or of the pointer that stands for it."""
        pointer = f"version https://git-lfs\noid sha256:{self.sha256}\nsize {len(self.data)}\n".encode()
        kept = pointer if self.lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(kept) + kept).hexdigest()


@dataclass
class Repo:
    kind: str  # models or datasets
    name: str
    gated: bool
    private: bool
    license: str | None
    trees: dict[str, dict[str, Blob]] = field(default_factory=dict)  # by commit
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    readers: set[str] = field(default_factory=set)  # users with access to a gated repository

    def commit(self, revision: str) -> str | None:
        known = {**{c: c for c in self.trees}, **{c[:7]: c for c in self.trees}, **self.tags, **self.branches}
        return known.get(revision.removeprefix("refs/heads/"))


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    status: int | None = None


@dataclass(frozen=True)
class Commit:
    repo: str
    summary: str
    files: dict[str, bytes]
    deleted: tuple[str, ...]
    commit: str


@dataclass
class Fault:
    """What a test switches on for requests that match: `path` is a glob over the path, `method` one name or any."""

    path: str
    method: str | None = None
    status: int | None = None  # answer with this
    code: str | None = None  # and X-Error-Code
    message: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None  # bytes of the body, then the connection is broken
    reset: bool = False  # broken by a reset, not by an orderly end
    content: bytes | None = None  # another body, with a Content-Length of its own
    ignore_range: bool = False  # a whole body, as servers that do not know ranges send
    change: Callable[[Any], Any] | None = None  # of what is answered as JSON
    raw: bytes | None = None  # everything that is sent, the line with the status too; then the connection ends
    repeat: bytes = b""  # is sent after it without end
    drip: float = 0.0  # seconds after every byte of these, or of the body where these are not given
    skip: int = 0  # requests that it lets pass before
    times: int | None = None  # for so many requests, else for all
    used: int = 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Only mistakes of this module are told, not that a client went away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class HubServer:
    """Listens on two ports of 127.0.0.1 from `with` on: the hub and the host that its large files come from."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.committed: list[Commit] = []
        self.tokens = {"hf_test": "tester"}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}  # large files by SHA-256
        self.lock = threading.RLock()
        self._servers: list[ThreadingHTTPServer] = []

    def __enter__(self) -> HubServer:
        for _ in range(2):
            handler = type("Handler", (_Handler,), {"hub": self})
            server = _Server(("127.0.0.1", 0), handler)
            self._servers.append(server)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def cdn(self) -> str:
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def add_model(self, name: str, files: dict[str, bytes | Path], **options: Any) -> str:
        """A commit of exactly these files; see `add`."""
        return self.add("models", name, files, **options)

    def add_dataset(self, name: str, files: dict[str, bytes | Path], **options: Any) -> str:
        return self.add("datasets", name, files, **options)

    def add(
        self,
        kind: str,
        name: str,
        files: dict[str, bytes | Path],
        *,
        revision: str = "main",
        tag: str | None = None,
        gated: bool = False,
        private: bool = False,
        license: str | None = None,
        readers: tuple[str, ...] = (),
    ) -> str:
        """A commit of exactly these files on a branch, made where it is missing; its 40 digits are returned.

        gated: files need a token whose user is in `readers`. private: the whole repository needs a token.
        """
        content = {path: f.read_bytes() if isinstance(f, Path) else f for path, f in files.items()}
        with self.lock:
            repo = self.repos.setdefault((kind, name), Repo(kind, name, gated, private, license))
            repo.gated, repo.private, repo.license = gated, private, license or repo.license
            repo.readers |= set(readers)
            commit = self._commit(repo, {p: Blob(d, p.endswith(_LFS) or len(d) > 10**6) for p, d in content.items()})
            repo.branches[revision] = commit
            repo.branches.setdefault("main", commit)
            if tag:
                repo.tags[tag] = commit
        return commit

    def _commit(self, repo: Repo, tree: dict[str, Blob]) -> str:
        listing = f"{repo.kind}/{repo.name}/{len(repo.trees)}" + "".join(
            f"{p} {b.oid}" for p, b in sorted(tree.items())
        )
        commit = hashlib.sha1(listing.encode()).hexdigest()
        repo.trees[commit] = tree
        self.objects |= {blob.sha256: blob.data for blob in tree.values() if blob.lfs}
        return commit

    def fault(self, path: str = "*", **what: Any) -> Fault:
        """Switch a fault on; faults that were switched on first come first."""
        fault = Fault(path, **what)
        self.faults.append(fault)
        return fault

    def asked(self, method: str = "*", path: str = "*") -> list[Request]:
        """The requests so far whose method and path match these globs."""
        return [r for r in self.requests if fnmatchcase(r.method, method) and fnmatchcase(r.path, path)]


class _RefusalError(Exception):
    """An answer instead of the one that would come next."""

    def __init__(self, status: int, code: str | None = None, message: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    headers: Message

    def log_message(self, *message: object) -> None:
        """Nothing: the requests are kept in `HubServer.requests`."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _answer(self) -> None:
        address = urlsplit(self.path)
        self.route, self.query = unquote(address.path), parse_qs(address.query, keep_blank_values=True)
        self.raw_route = address.path
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._logged = Request(
            self.command,
            self.route,
            {k: v[-1] for k, v in self.query.items()},
            {k.lower(): str(v) for k, v in self.headers.items()},
        )
        with self.hub.lock:
            self.hub.requests.append(self._logged)
            self.fault = self._next_fault()
        try:
            if self.fault and self.fault.raw is not None:
                self._send_raw(self.fault.raw, self.fault.repeat, self.fault.drip)
                return
            if self.fault and self.fault.status:
                f = self.fault
                raise _RefusalError(f.status or 0, f.code, f.message or "", **f.headers)
            self._route()
        except _RefusalError as refusal:
            headers = dict(refusal.headers)
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
            if refusal.message:
                headers["X-Error-Message"] = refusal.message
            self._send(refusal.status, json.dumps({"error": refusal.message}).encode(), headers)
        except OSError:  # the client went away
            self.close_connection = True

    def _next_fault(self) -> Fault | None:
        for fault in self.hub.faults:
            if not fnmatchcase(self.route, fault.path) or fault.method not in (None, self.command):
                continue
            if fault.skip:
                fault.skip -= 1
            elif fault.times is None or fault.used < fault.times:
                fault.used += 1
                return fault
        return None

    def _route(self) -> None:
        route = self.route
        if m := re.fullmatch(r"/api/(models|datasets)", route):
            self._list(m[1])
        elif m := re.fullmatch(r"/(?:datasets/)?(.+?)\.git/info/lfs/objects/batch", route):
            self._lfs_batch()
        elif m := re.fullmatch(r"/lfs/([0-9a-f]{64})", route):
            self._put(m[1])
        elif m := re.fullmatch(r"/cdn/([0-9a-f]{64})", route):
            self._cdn(m[1])
        elif route == "/api/whoami-v2":
            self._whoami()
        elif route == "/api/repos/create":
            self._create()
        elif route == "/api/validate-yaml":
            self._validate_yaml()
        elif m := re.fullmatch(r"/(datasets/)?([^/]+(?:/[^/]+)?)/resolve/(.+)", self.raw_route):
            revision, _, path = m[3].partition("/")
            self._resolve(self._repo("datasets" if m[1] else "models", m[2]), unquote(revision), unquote(path))
        elif m := re.fullmatch(r"/api/(models|datasets)/(.+)", self.raw_route):
            self._api(m[1], m[2])
        else:
            raise _RefusalError(404, None, f"no such page: {route}")

    def _api(self, kind: str, rest: str) -> None:
        """`owner/name/verb/revision/...`, or without an owner as the oldest repositories have it."""
        parts = rest.split("/")
        verbs = ("revision", "refs", "tree", "paths-info", "preupload", "commit", "parquet", "resolve")
        n = 1 if len(parts) == 1 or parts[1] in verbs else 2
        repo = self._repo(kind, unquote("/".join(parts[:n])))
        verb, arguments = (parts[n] if parts[n:] else "revision"), [unquote(p) for p in parts[n + 1 :]]
        revision = arguments[0] if arguments else "main"
        if verb == "revision":
            self._json(self._info(repo, revision))
        elif verb == "refs":
            refs = [
                [{"name": n, "ref": f"refs/{place}/{n}", "targetCommit": c} for n, c in sorted(names.items())]
                for place, names in (("heads", repo.branches), ("tags", repo.tags))
            ]
            self._json({"branches": refs[0], "tags": refs[1], "converts": [], "pullRequests": []})
        elif verb == "tree":
            self._tree(repo, revision, "/".join(arguments[1:]))
        elif verb == "paths-info":
            self._paths_info(repo, revision)
        elif verb == "resolve":
            self._resolve(repo, revision, "/".join(arguments[1:]))
        elif verb == "preupload":
            self._preupload(repo)
        elif verb == "commit":
            self._commit(repo, revision)
        else:
            raise _RefusalError(404, None, f"no such page: {self.route}")

    # What the hub knows

    def _user(self) -> str | None:
        """The name of who asks; an unknown token is refused wherever it is shown."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if not token:
            return None
        if token not in self.hub.tokens:
            raise _RefusalError(401, None, "Invalid credentials in Authorization header")
        return self.hub.tokens[token]

    def _repo(self, kind: str, name: str) -> Repo:
        user = self._user()
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and user is None):
            # The hub does not tell strangers whether a repository is missing or private.
            raise _RefusalError(
                404 if user else 401,
                "RepoNotFound",
                "Repository not found" if user else "Invalid username or password.",
            )
        return repo

    def _at(self, repo: Repo, revision: str) -> tuple[str, dict[str, Blob]]:
        commit = repo.commit(revision)
        if commit is None:
            raise _RefusalError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit, repo.trees[commit]

    def _info(self, repo: Repo, revision: str) -> dict[str, Any]:
        commit, tree = self._at(repo, revision)
        siblings: list[dict[str, Any]] = []
        for path, blob in sorted(tree.items()):
            sibling: dict[str, Any] = {"rfilename": path}
            if "blobs" in self.query:
                sibling |= {"size": len(blob.data), "blobId": blob.oid}
                if blob.lfs:
                    sibling["lfs"] = {"sha256": blob.sha256, "size": len(blob.data), "pointerSize": 134}
            siblings.append(sibling)
        return {
            "_id": commit[:24],
            "id": repo.name,
            "author": repo.name.partition("/")[0],
            "sha": commit,
            "private": repo.private,
            "gated": "manual" if repo.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [f"license:{repo.license}"] if repo.license else [],
            "cardData": {"license": repo.license} if repo.license else {},
            "createdAt": "2026-01-01T00:00:00.000Z",
            "lastModified": "2026-01-01T00:00:00.000Z",
            "siblings": siblings,
        }

    def _list(self, kind: str) -> None:
        author = self.query.get("author", [None])[-1]
        search = (self.query.get("search") or [""])[-1].casefold()
        repos = [r for (k, _), r in sorted(self.hub.repos.items()) if k == kind and not r.private]
        found = [r for r in repos if author in (None, r.name.partition("/")[0]) and search in r.name.casefold()]
        limit = int((self.query.get("limit") or ["1000"])[-1])
        self._json([{k: v for k, v in self._info(r, "main").items() if k != "siblings"} for r in found[:limit]])

    def _entry(self, path: str, blob: Blob) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "oid": blob.oid, "size": len(blob.data), "path": path}
        if blob.lfs:
            entry["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 134}
        return entry

    def _folder(self, path: str) -> dict[str, Any]:
        return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}

    def _tree(self, repo: Repo, revision: str, under: str) -> None:
        commit, tree = self._at(repo, revision)
        deep = (self.query.get("recursive") or ["false"])[-1].casefold() in ("true", "1")
        inside = {p: b for p, b in tree.items() if not under or p.startswith(under + "/")}
        if under and not inside:
            raise _RefusalError(
                404, "EntryNotFound", f"{under} does not exist on {revision}", **{"X-Repo-Commit": commit}
            )
        skip = len(under) + 1 if under else 0
        entries: dict[str, dict[str, Any]] = {}
        for path, blob in sorted(inside.items()):
            parts = path[skip:].split("/")
            for i in range(1, len(parts) if deep else min(2, len(parts))):
                folder = path[:skip] + "/".join(parts[:i])
                entries.setdefault(folder, self._folder(folder))
            if deep or len(parts) == 1:
                entries[path] = self._entry(path, blob)
        self._json(list(entries.values()))

    def _paths_info(self, repo: Repo, revision: str) -> None:
        _, tree = self._at(repo, revision)
        if "json" in (self.headers.get("Content-Type") or ""):
            paths = json.loads(self.body)["paths"]
        else:
            paths = parse_qs(self.body.decode()).get("paths", [])
        entries = []
        for path in (p.strip("/") for p in paths):
            if path in tree:
                entries.append(self._entry(path, tree[path]))
            elif not path or any(p.startswith(path + "/") for p in tree):
                entries.append(self._folder(path))
        self._json(entries)

    # Files

    def _resolve(self, repo: Repo, revision: str, path: str) -> None:
        commit, tree = self._at(repo, revision)
        user = self._user()
        if repo.gated and user not in repo.readers:
            raise _RefusalError(
                403 if user else 401, "GatedRepo", f"Access to {repo.kind[:-1]} {repo.name} is restricted."
            )
        if path not in tree:
            raise _RefusalError(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit})
        blob = tree[path]
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if blob.lfs:
            headers["X-Linked-Etag"] = f'"{blob.sha256}"'
            headers["X-Linked-Size"] = str(len(blob.data))
            headers["Location"] = f"{self.hub.cdn}/cdn/{blob.sha256}"
            self._send(302, b"", headers)
        else:
            headers["ETag"] = f'"{blob.oid}"'
            self._content(blob.data, headers)

    def _cdn(self, sha256: str) -> None:
        if "Authorization" in self.headers:
            raise _RefusalError(400, None, "a token was sent to another host")
        self._content(self.hub.objects[sha256], {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"})

    def _content(self, data: bytes, headers: dict[str, str]) -> None:
        fault = self.fault
        if fault and fault.content is not None:
            data = fault.content
        m = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if not m or (fault and fault.ignore_range):
            self._send(200, data, headers)
            return
        if m[1]:
            start, end = int(m[1]), min(int(m[2]) + 1 if m[2] else len(data), len(data))
        else:
            start, end = max(len(data) - int(m[2]), 0), len(data)
        if start >= end:
            self._send(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
        else:
            self._send(206, data[start:end], {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})

    # Uploads

    def _writer(self, namespace: str) -> str:
        user = self._user()
        if user is None:
            raise _RefusalError(401, None, "Invalid username or password.")
        if user != namespace:
            raise _RefusalError(
                403, None, f"You don't have the rights to create or write under the namespace {namespace}"
            )
        return user

    def _whoami(self) -> None:
        user = self._user()
        if user is None:
            raise _RefusalError(401, None, "Invalid username or password.")
        access = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
        self._json({"type": "user", "id": "1", "name": user, "fullname": user, "orgs": [], "auth": access})

    def _create(self) -> None:
        asked = json.loads(self.body)
        namespace = asked.get("organization") or self._user() or ""
        self._writer(namespace)
        kind, name = f"{asked.get('type') or 'model'}s", f"{namespace}/{asked['name']}"
        answer = {"url": f"{self.hub.url}/{_PREFIXES[kind]}{name}", "name": name, "id": name}
        if (kind, name) in self.hub.repos:
            answer["error"] = "You already created this repo"
            self._send(409, json.dumps(answer).encode(), {})
            return
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        self.hub.add(kind, name, {".gitattributes": b""}, private=private)
        self._json(answer)

    def _validate_yaml(self) -> None:
        import yaml  # type: ignore[import-untyped]

        content, errors, warnings = json.loads(self.body)["content"], [], []
        m = re.match(r"---\r?\n(.*?)\r?\n---", content, re.DOTALL)
        if not m:
            warnings.append({"message": "empty or missing yaml metadata in repo card"})
        else:
            try:
                if not isinstance(yaml.safe_load(m[1]), dict):
                    errors.append({"message": "the metadata is no mapping"})
            except yaml.YAMLError as e:
                errors.append({"message": str(e)})
        self._send(400 if errors else 200, json.dumps({"errors": errors, "warnings": warnings}).encode(), {})

    def _preupload(self, repo: Repo) -> None:
        self._writer(repo.name.partition("/")[0])
        asked = json.loads(self.body)["files"]
        modes = ["lfs" if f["path"].endswith(_LFS) or f["size"] > 10**6 else "regular" for f in asked]
        files = [{"path": f["path"], "uploadMode": m, "shouldIgnore": False} for f, m in zip(asked, modes, strict=True)]
        self._json({"files": files})

    def _lfs_batch(self) -> None:
        objects = [dict(o) for o in json.loads(self.body)["objects"]]
        for o in objects:
            if o["oid"] not in self.hub.objects:
                o["actions"] = {"upload": {"href": f"{self.hub.cdn}/lfs/{o['oid']}", "header": {}}}
        self._json({"transfer": "basic", "objects": objects})

    def _put(self, sha256: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != sha256:
            raise _RefusalError(400, None, "the content has another hash")
        self.hub.objects[sha256] = self.body
        self._send(200, b"", {})

    def _commit(self, repo: Repo, revision: str) -> None:
        self._writer(repo.name.partition("/")[0])
        lines = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        summary, files, deleted = "", dict[str, Blob](), list[str]()
        for key, value in ((line["key"], line["value"]) for line in lines):
            if key == "header":
                summary = value["summary"]
            elif key == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), lfs=False)
            elif key == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise _RefusalError(400, None, f"{value['path']}: was not uploaded")
                files[value["path"]] = Blob(self.hub.objects[value["oid"]], lfs=True)
            elif key in ("deletedFile", "deletedFolder"):
                deleted.append(value["path"])
        with self.hub.lock:
            _, before = self._at(repo, revision)
            gone = tuple(deleted)
            kept = {
                p: b for p, b in before.items() if not any(p == g or p.startswith(g.rstrip("/") + "/") for g in gone)
            }
            commit = self.hub._commit(repo, {**kept, **files})
            repo.branches[revision] = commit
            content = {path: blob.data for path, blob in files.items()}
            self.hub.committed.append(Commit(repo.name, summary, content, gone, commit))
        url = f"{self.hub.url}/{_PREFIXES[repo.kind]}{repo.name}"
        self._json({"success": True, "commitOid": commit, "commitUrl": f"{url}/commit/{commit}", "hookOutput": ""})

    # Answers

    def _json(self, value: object) -> None:
        if self.fault and self.fault.change:
            value = self.fault.change(value)
        self._send(200, json.dumps(value).encode("utf-8", "surrogatepass"), {})

    def _send_raw(self, begin: bytes, repeat: bytes, drip: float) -> None:
        """Until the client goes away, where something is repeated."""
        self.close_connection = True
        pieces = itertools.chain([begin], itertools.repeat(repeat) if repeat else ())
        for piece in pieces:
            self._write(piece, drip)

    def _write(self, data: bytes, drip: float) -> None:
        for part in (data[i : i + 1] for i in range(len(data))) if drip else (data,):
            self.wfile.write(part)
            time.sleep(drip)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        with self.hub.lock:
            at = self.hub.requests.index(self._logged)
            self._logged = self.hub.requests[at] = Request(**{**vars(self._logged), "status": status})
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.fault.cut_after if self.fault and status < 300 else None
        self._write(body[:cut], self.fault.drip if self.fault and status < 300 else 0.0)
        if cut is not None and cut < len(body):
            self.wfile.flush()
            self.close_connection = True
            if self.fault and self.fault.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with suppress(OSError):
                self.connection.close() if self.fault and self.fault.reset else self.connection.shutdown(
                    socket.SHUT_RDWR
                )


@pytest.fixture(name="hub")
def hub_fixture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A server, with the environment and huggingface_hub's settings pointing to it, an empty cache and no token.

    huggingface_hub and datasets read their settings when they are imported; a subprocess gets them from the environment.
    """
    import huggingface_hub.constants as constants
    from huggingface_hub import close_session

    home = tmp_path / "huggingface"
    with HubServer() as server:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_XET_HIGH_PERFORMANCE"):
            monkeypatch.delenv(name, raising=False)
        settings = {
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_DATASETS_CACHE": str(home / "datasets"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server
        close_session()  # connections to a server that is gone


hub = hub_fixture
