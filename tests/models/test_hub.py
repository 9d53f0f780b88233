from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bench.models.download
import bench.models.exchange
from bench.core.errors import BenchError
from bench.core.files import file_sha256
from bench.core.progress import Reporter
from bench.gguf_files.shards import shard_names
from bench.models.answers import HubFile, HubRepo
from bench.models.download import download
from bench.models.exchange import Patience
from bench.models.hub import HubName, find, parse_hub_name, shards
from tests.support.hub_server import HubServer, hub_fixture  # noqa: F401

DATA = random.Random(1).randbytes(300_000)
NAME = HubName("owner/model-GGUF")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.models.download, "_PAUSE", 0.0)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def error(name: HubName) -> str:
    with pytest.raises(BenchError) as e:
        find(name)
    assert "\n" not in str(e.value)
    return str(e.value)


def failure(repo: HubRepo, cache: Path) -> str:
    with pytest.raises(BenchError) as e:
        download(repo, repo.files[0], cache, Reporter())
    assert "\n" not in str(e.value)
    return str(e.value)


def model(hub: HubServer, data: bytes = DATA) -> HubRepo:
    hub.add_model("owner/model-GGUF", {"model-F16.gguf": data, "README.md": b"about"}, license="apache-2.0")
    repo = find(HubName("owner/model-GGUF", None, "model-F16.gguf"))
    hub.requests.clear()
    return repo


def blobs() -> list[Path]:
    return sorted(Path(os.environ["HF_HUB_CACHE"]).glob("models--*/blobs/*"))


# Names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf:owner/repo", HubName("owner/repo", None, None)),
        ("hf:owner/Repo-1.5B_x@v1.0", HubName("owner/Repo-1.5B_x", "v1.0", None)),
        ("hf:owner/repo@refs/pr/1:sub/*F16*.gguf", HubName("owner/repo", "refs/pr/1", "sub/*F16*.gguf")),
        ("hf:owner/repo:a.gguf", HubName("owner/repo", None, "a.gguf")),
    ],
)
def test_name(text: str, name: HubName) -> None:
    assert parse_hub_name(text) == name


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("model.gguf", "is no name of a model on the hub"),
        ("hf:", "nothing is not OWNER/REPO"),
        ("hf:repo", "repo is not OWNER/REPO"),
        ("hf:a/b/c", "a/b/c is not OWNER/REPO"),
        ("hf:https://huggingface.co/a/b", "https is not OWNER/REPO"),
        ("hf:a/b@", "the revision after @ is missing"),
        ("hf:a/b@:f", "the revision after @ is missing"),
        ("hf:a/b:", "the file after : is missing"),
    ],
)
def test_name_that_is_none(text: str, part: str) -> None:
    with pytest.raises(BenchError) as e:
        parse_hub_name(text)
    assert part in str(e.value) and "write hf:OWNER/REPO" in str(e.value)


def test_shard_names() -> None:
    assert shard_names("m.gguf") == ["m.gguf"]
    assert shard_names("d/x-00002-of-00003.gguf") == [f"d/x-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert shard_names("x-2-of-3.gguf") == ["x-2-of-3.gguf"]


# Looking up


def test_repository_with_sizes_and_hashes_in_one_request(hub: HubServer) -> None:
    commit = hub.add_model("owner/model-GGUF", {"m.gguf": DATA, "README.md": b"about"}, license="apache-2.0")
    oid = hashlib.sha1(b"blob 5\0about").hexdigest()
    repo = find(NAME)
    assert (repo.repo, repo.revision) == ("owner/model-GGUF", commit)
    assert repo.files[0] == HubFile("README.md", 5, None, oid)
    assert repo.files[1].path == "m.gguf" and repo.files[1].n_bytes == 300_000
    assert repo.files[1].sha256 == hashlib.sha256(DATA).hexdigest()
    assert len(hub.requests) == 1


def test_revisions(hub: HubServer) -> None:
    first = hub.add_model("owner/model-GGUF", {"m.gguf": b"one"}, tag="v1")
    second = hub.add_model("owner/model-GGUF", {"m.gguf": b"second"})
    other = hub.add_model("owner/model-GGUF", {"m.gguf": b"of a branch"}, revision="wip/x")
    sizes = {r: find(HubName("owner/model-GGUF", r)) for r in (None, "main", "v1", "wip/x", first)}
    assert [(r.revision, r.files[0].n_bytes) for r in sizes.values()] == [
        (second, 6),
        (second, 6),
        (first, 3),
        (other, 11),
        (first, 3),
    ]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("a-F16.gguf", ["a-F16.gguf"]),
        ("*Q4*", ["a-Q4_0.gguf", "deep/b-Q4_K.gguf"]),
        ("b-*.gguf", ["deep/b-Q4_K.gguf"]),
        ("deep/*", ["deep/b-Q4_K.gguf"]),
        ("c-00002-of-00002.gguf", ["c-00001-of-00002.gguf", "c-00002-of-00002.gguf"]),
    ],
)
def test_files_by_name_and_glob(hub: HubServer, wanted: str, found: list[str]) -> None:
    names = ("a-F16.gguf", "a-Q4_0.gguf", "deep/b-Q4_K.gguf", "c-00001-of-00002.gguf", "c-00002-of-00002.gguf")
    hub.add_model("owner/model-GGUF", dict.fromkeys(names, b"x"))
    repo = find(HubName("owner/model-GGUF", None, wanted))
    assert [f.path for f in repo.files] == found
    assert [f.path for f in shards(repo, found[-1])] == [n for n in found if n in shard_names(found[-1])]


def test_missing_part_of_a_split_file(hub: HubServer) -> None:
    hub.add_model("owner/model-GGUF", {"c-00001-of-00003.gguf": b"x", "c-00003-of-00003.gguf": b"x"})
    with pytest.raises(BenchError, match=r"has no file c-00002-of-00003\.gguf, a part of c-00001-of-00003\.gguf"):
        shards(find(NAME), "c-00001-of-00003.gguf")


def test_file_that_does_not_exist(hub: HubServer) -> None:
    hub.add_model("owner/model-GGUF", {"model-F16.gguf": b"x", "model-Q8_0.gguf": b"x", "README.md": b"x"})
    assert "has no file model-f16.guf; did you mean model-F16.gguf" in error(
        HubName(NAME.owner_repo, None, "model-f16.guf")
    )
    said = error(HubName(NAME.owner_repo, None, "*IQ3*"))
    assert "has no file *IQ3*; it has model-F16.gguf, model-Q8_0.gguf, README.md; name another" in said


def test_repository_that_does_not_exist(hub: HubServer) -> None:
    hub.add_model("owner/model-GGUF", {"m.gguf": b"x"})
    said = error(HubName("owner/modle-GGUF"))
    assert "hf:owner/modle-GGUF: does not exist, or is private or gated; did you mean owner/model-GGUF?" in said
    assert "`hf auth login`" in said
    assert "did you mean" not in error(HubName("nobody/model-GGUF"))
    hub.fault("/api/models", status=500)  # no names then, but the same message
    assert "does not exist, or is private or gated; correct the name" in error(HubName("owner/modle-GGUF"))


def test_private_repository_and_tokens(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add_model("owner/model-GGUF", {"m.gguf": b"x"}, private=True)
    assert "private or gated" in error(NAME)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "does not accept the token; log in again" in error(NAME)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    assert find(NAME).files[0].path == "m.gguf"


def test_plain_401_is_a_repository_that_does_not_exist(hub: HubServer) -> None:
    hub.fault("/api/models/*", status=401)
    assert "does not exist, or is private or gated" in error(NAME)


def test_revision_that_does_not_exist(hub: HubServer) -> None:
    hub.add_model("owner/model-GGUF", {"m.gguf": b"x"}, tag="v1.0")
    assert "has no revision v1.1; did you mean v1.0?; name a branch" in error(HubName(NAME.owner_repo, "v1.1"))
    assert "has no revision xyz; it has main, v1.0; name a branch" in error(HubName(NAME.owner_repo, "xyz"))
    hub.fault("*/refs", status=500)
    assert "has no revision xyz; name a branch" in error(HubName(NAME.owner_repo, "xyz"))


@pytest.mark.parametrize(
    ("status", "headers", "part"),
    [
        (429, {}, "too many requests (status 429); wait some minutes and run again"),
        (429, {"Retry-After": "300"}, "wait 300 s and run again"),
        (500, {}, "status 500; wait and run again"),
        (503, {}, "status 503; wait and run again"),
        (403, {}, "refuses access (status 403); check what the token may read"),
    ],
)
def test_hub_that_refuses(hub: HubServer, status: int, headers: dict[str, str], part: str) -> None:
    hub.add_model("owner/model-GGUF", {"m.gguf": b"x"})
    hub.fault("/api/models/*", status=status, headers=headers)
    assert part in error(NAME)
    assert len(hub.requests) == 1  # asked once: nobody waits without knowing for what


def test_no_network(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{s.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", closed)
        said = error(NAME)
    assert f"{closed} cannot be reached" in said and "check the network" in said


def test_hub_that_does_not_answer(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.models.exchange, "PATIENCE", Patience(silence=0.2))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()  # takes the connection and says nothing
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{s.getsockname()[1]}")
        assert "did not answer within" in error(NAME)


def test_something_that_is_no_hub(hub: HubServer) -> None:
    hub.fault("/api/models/*", status=200)  # a page for logging in to the hotel's network, say
    hub.add_model("owner/model-GGUF", {"m.gguf": b"x"})
    assert "does not answer as a hub does" in error(NAME)


def test_offline(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set; unset it" in error(NAME)
    assert hub.requests == []


# Downloading


def test_download_into_the_library_s_own_cache(
    hub: HubServer, cache: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.core.progress._quiet", True)  # the library is to be quiet of itself
    from huggingface_hub import try_to_load_from_cache

    repo = model(hub)
    path = download(repo, repo.files[0], cache, Reporter())
    assert path.read_bytes() == DATA
    assert path.name == "model-F16.gguf" and path.parent.name == repo.revision
    found = try_to_load_from_cache(
        repo.repo, "model-F16.gguf", cache_dir=os.environ["HF_HUB_CACHE"], revision=repo.revision
    )
    assert found == str(path)
    assert [b.name for b in blobs()] == [hashlib.sha256(DATA).hexdigest()]
    assert capfd.readouterr() == ("", "")


def test_second_call_asks_nothing_and_hashes_nothing(
    hub: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = model(hub)
    path = download(repo, repo.files[0], cache, Reporter())
    hub.requests.clear()
    hashed: list[Path] = []
    monkeypatch.setattr(bench.models.download, "file_sha256", lambda path, progress: hashed.append(path))
    assert download(repo, repo.files[0], cache, Reporter()) == path
    assert (hub.requests, hashed) == ([], [])


def test_file_that_another_program_fetched_is_taken_and_verified_once(
    hub: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_hub_download

    repo = model(hub)
    theirs = hf_hub_download(
        repo.repo, "model-F16.gguf", cache_dir=os.environ["HF_HUB_CACHE"], endpoint=os.environ["HF_ENDPOINT"]
    )
    hub.requests.clear()
    hashed: list[Path] = []

    def hash_it(path: Path, progress: Callable[[float], None]) -> str:
        hashed.append(path)
        return file_sha256(path, progress)

    monkeypatch.setattr(bench.models.download, "file_sha256", hash_it)
    for _ in range(2):
        assert download(repo, repo.files[0], cache, Reporter()) == Path(theirs)
    assert hub.requests == [] and len(hashed) == 1


def test_pinned_commit(hub: HubServer, cache: Path) -> None:
    repo = model(hub)
    hub.add_model("owner/model-GGUF", {"model-F16.gguf": b"newer"})
    assert download(repo, repo.files[0], cache, Reporter()).read_bytes() == DATA
    newer = find(HubName("owner/model-GGUF", None, "*.gguf"))
    assert download(newer, newer.files[0], cache, Reporter()).read_bytes() == b"newer"
    assert download(repo, repo.files[0], cache, Reporter()).read_bytes() == DATA


def test_same_content_in_another_commit_is_not_fetched_again(hub: HubServer, cache: Path) -> None:
    repo = model(hub)
    download(repo, repo.files[0], cache, Reporter())
    hub.add_model("owner/model-GGUF", {"renamed.gguf": DATA})
    newer = find(HubName("owner/model-GGUF", None, "*.gguf"))
    hub.requests.clear()
    assert download(newer, newer.files[0], cache, Reporter()).read_bytes() == DATA
    assert hub.requests == [] and len(blobs()) == 1


@pytest.mark.parametrize("reset", [False, True])
def test_broken_connection_goes_on_where_it_broke(hub: HubServer, cache: Path, reset: bool) -> None:
    repo = model(hub)
    hub.fault("/cdn/*", cut_after=100_000, times=1, reset=reset)
    assert download(repo, repo.files[0], cache, Reporter()).read_bytes() == DATA
    first, second = hub.asked("GET", "/cdn/*")
    assert (first.status, first.headers.get("range")) == (200, None)
    assert second.status == 206
    start = int(second.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 100_000
    assert [b.name for b in blobs()] == [repo.files[0].sha256]


class Watched(Reporter):
    """Keeps what is shown, and is interrupted at a share of a download."""

    def __init__(self, interrupted_at: float = 2) -> None:
        super().__init__()
        self.at, self.shares = interrupted_at, dict[str, list[float]]()

    @contextmanager
    def steps(self, label: str, total: int) -> Iterator[Any]:
        self.shares[label] = []
        yield SimpleNamespace(share=lambda share: self.show(label, share))

    def show(self, label: str, share: float) -> None:
        self.shares[label].append(share)
        if label.startswith("Downloading") and share >= self.at:
            raise KeyboardInterrupt


def test_progress(hub: HubServer, cache: Path) -> None:
    repo, watched = model(hub), Watched()
    download(repo, repo.files[0], cache, watched)
    assert list(watched.shares) == ["Downloading model-F16.gguf", f"Verifying {hashlib.sha256(DATA).hexdigest()[:12]}"]
    for shares in watched.shares.values():
        assert shares == sorted(shares) and shares[-1] == 1.0


def test_interrupted_run_goes_on_where_it_stopped(hub: HubServer, cache: Path) -> None:
    repo = model(hub)
    with pytest.raises(KeyboardInterrupt):
        download(repo, repo.files[0], cache, Watched(interrupted_at=0.4))
    (partial,) = blobs()
    n_bytes = partial.stat().st_size
    assert partial.name == f"{repo.files[0].sha256}.incomplete" and 120_000 <= n_bytes < 300_000
    hub.requests.clear()
    assert download(repo, repo.files[0], cache, Reporter()).read_bytes() == DATA
    assert [r.headers.get("range") for r in hub.asked("GET", "/cdn/*")] == [f"bytes={n_bytes}-"]
    assert [b.name for b in blobs()] == [repo.files[0].sha256]


def test_hub_that_fails_midway(hub: HubServer, cache: Path) -> None:
    repo = model(hub)
    hub.fault("/cdn/*", cut_after=70_000)
    hub.fault("*/resolve/*", status=503, skip=1)
    assert "status 503" in failure(repo, cache)
    hub.faults.clear()
    hub.requests.clear()
    assert download(repo, repo.files[0], cache, Reporter()).read_bytes() == DATA
    assert "range" in hub.asked("GET", "/cdn/*")[0].headers


def test_two_at_once_fetch_it_once(hub: HubServer, cache: Path) -> None:
    repo = model(hub)
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: download(repo, repo.files[0], cache, Reporter()), range(2)))
    assert paths[0] == paths[1] and paths[0].read_bytes() == DATA
    assert len(hub.asked("GET", "/cdn/*")) == 1


def test_connection_that_never_holds(hub: HubServer, cache: Path) -> None:
    repo = model(hub)
    hub.fault("/cdn/*", cut_after=0)
    said = failure(repo, cache)
    assert "broke off 4 times in a row" in said and "run again, which goes on from the 0.0 of 0.3 MB" in said
    assert len(hub.asked("GET", "/cdn/*")) == 4  # and three more
    hub.faults.clear()
    assert download(repo, repo.files[0], cache, Reporter()).read_bytes() == DATA


def test_server_that_does_not_know_ranges(hub: HubServer, cache: Path) -> None:
    repo = model(hub)
    hub.fault("/cdn/*", cut_after=100_000, times=1)
    hub.fault("/cdn/*", ignore_range=True)
    assert download(repo, repo.files[0], cache, Reporter()).read_bytes() == DATA
    assert [r.status for r in hub.asked("GET", "/cdn/*")] == [200, 200]


@pytest.mark.parametrize(
    ("content", "part"),
    [(DATA[:-1] + b"?", "SHA-256"), (DATA[:1000], "1000 bytes instead of 300000"), (b"?" + DATA, "SHA-256")],
)
def test_wrong_content(hub: HubServer, cache: Path, content: bytes, part: str) -> None:
    repo = model(hub)
    assert content != DATA
    hub.fault("/cdn/*", content=content)
    said = failure(repo, cache)
    assert "sent something else twice" in said and part in said
    assert len(hub.asked("GET", "/cdn/*")) == 2
    assert blobs() == []  # and nothing wrong is left for other programs


def test_wrong_content_once(hub: HubServer, cache: Path) -> None:
    repo = model(hub)
    hub.fault("/cdn/*", content=b"?" * len(DATA), times=1)
    assert download(repo, repo.files[0], cache, Reporter()).read_bytes() == DATA


def test_damaged_file_in_the_cache_is_fetched_again(
    hub: HubServer, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    repo = model(hub)
    path = download(repo, repo.files[0], cache, Reporter())
    path.write_bytes(b"?" * len(DATA))
    hub.requests.clear()
    assert download(repo, repo.files[0], cache, Reporter()).read_bytes() == DATA
    assert "is not what the hub has; downloading it again" in " ".join(capfd.readouterr().err.split())
    assert len(hub.asked("GET", "/cdn/*")) == 1


def test_file_without_a_sha256_is_checked_by_its_name_in_git(hub: HubServer, cache: Path) -> None:
    hub.add_model("owner/model-GGUF", {"README.md": b"about"})
    repo = find(NAME)
    path = download(repo, repo.files[0], cache, Reporter())
    assert path.read_bytes() == b"about"
    path.write_bytes(b"abOut")
    assert download(repo, repo.files[0], cache, Reporter()).read_bytes() == b"about"


def test_gated_repository(hub: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add_model("owner/model-GGUF", {"m.gguf": DATA}, gated=True)
    repo = find(NAME)  # anyone may look
    for token in ("", "hf_test"):  # without an account, and with one that was not let in
        monkeypatch.setenv("HF_TOKEN", token)
        said = failure(repo, cache)
        assert f"hf:owner/model-GGUF: is gated; ask for access at {hub.url}/owner/model-GGUF, log in with" in said
    hub.repos["models", "owner/model-GGUF"].readers.add("tester")
    assert download(repo, repo.files[0], cache, Reporter()).read_bytes() == DATA
    assert [r.status for r in hub.asked("GET", "/cdn/*")] == [200]  # the server refuses tokens there


@pytest.mark.parametrize(("status", "n"), [(429, 1), (500, 4), (404, 1)])
def test_hub_that_refuses_a_file(hub: HubServer, cache: Path, status: int, n: int) -> None:
    repo = model(hub)
    hub.fault("*/resolve/*", status=status)
    said = failure(repo, cache)
    assert said.startswith("hf:owner/model-GGUF: ") and said.endswith("run again")
    assert len(hub.requests) == n + (status == 404)  # 404 asks for names


def test_passing_error(hub: HubServer, cache: Path) -> None:
    repo = model(hub)
    hub.fault("*/resolve/*", status=503, times=2)
    assert download(repo, repo.files[0], cache, Reporter()).read_bytes() == DATA


def test_no_room(hub: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = model(hub)
    blobs = Path(os.environ["HF_HUB_CACHE"]) / "models--owner--model-GGUF" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{repo.files[0].sha256}.incomplete").write_bytes(DATA[:100_000])
    free = [199_999]
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free[0]))
    said = failure(repo, cache)
    assert f"needs 0.0 GB and {blobs} has" in said and "set HF_HUB_CACHE to another directory" in said
    assert hub.requests == []
    free[0] = 200_000  # enough for what is missing
    assert download(repo, repo.files[0], cache, Reporter()).read_bytes() == DATA


def test_file_that_only_xet_can_fetch(hub: HubServer, cache: Path) -> None:
    huge = HubFile("m.gguf", 60 * 10**9, "0" * 64, "0" * 40)
    said = failure(HubRepo("owner/m", "0" * 40, (huge,)), cache)
    assert "has 60.0 GB" in said and f"run `hf download owner/m m.gguf --revision {'0' * 40}`" in said
    assert hub.requests == []


def test_cache_that_cannot_be_written(hub: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = model(hub)
    occupied = cache.with_name("file")
    occupied.write_text("")
    monkeypatch.setenv("HF_HUB_CACHE", str(occupied))
    assert "cannot be written" in (said := failure(repo, cache)) and "set HF_HUB_CACHE" in said


def test_cache_of_others_that_has_the_file(hub: HubServer, cache: Path) -> None:
    repo = model(hub)
    path = download(repo, repo.files[0], cache, Reporter())
    shutil.rmtree(path.parents[3] / ".locks")
    assert download(repo, repo.files[0], cache, Reporter()) == path
    assert not (path.parents[3] / ".locks").exists()  # nothing was written there


@pytest.mark.parametrize("path", ["../../../out.gguf", "a/../../../../out.gguf", "/out.gguf"])
def test_file_outside_of_the_cache(hub: HubServer, cache: Path, path: str) -> None:
    hub.add_model("owner/model-GGUF", {path: DATA})
    assert "no path inside a repository" in error(NAME)
    assert hub.asked("GET", "*/resolve/*") == []
