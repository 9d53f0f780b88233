"""`cache ls` and `cache clear`, as a user runs them: what they find, what they leave alone, and what they refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from bench.core.errors import BenchError
from bench.core.files import own_tag
from bench.core.progress import Reporter
from bench.workbench.options import Options
from bench.workbench.scratch import owner
from bench.workbench.work import Work
from tests.conftest import Outcome

Bench = Callable[..., Outcome]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A cache with a little of everything, the model unused for three days, and what is none of the program's business."""
    cache = tmp_path / "cache"
    files = {
        "engine/0a1b/engine.whl": 100,
        "models/m.gguf": 1000,
        "quantized/m-IQ1_S-0a.gguf": 200,
        "quantized/m-IQ1_S-0a.json": 10,
        "blocks/0c/blk.0.attn_q.weight.IQ1_S": 30,
        "blocks/0c/blk.1.attn_q.weight.IQ1_S": 30,
        "imatrix/m-0d.gguf": 40,
        "quantized/run/records.jsonl": 50,
        "mine/precious.txt": 60,
    }
    for name, n_bytes in files.items():
        path = cache / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(n_bytes))
    three_days_ago = time.time() - 3 * 86400
    os.utime(cache / "models/m.gguf", (three_days_ago, three_days_ago))
    return cache


def left(cache: Path) -> set[str]:
    return {str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file()}


def test_what_is_kept_is_listed_by_kind_with_its_size(bench: Bench, kept: Path) -> None:
    found = json.loads(bench("cache", "ls", "--cache", kept, "--json").out)
    sizes = {(e["kind"], Path(e["path"]).name): e["bytes"] for e in found}
    assert sizes == {
        ("engine", "0a1b"): 100,
        ("models", "m.gguf"): 1000,
        ("quantized", "m-IQ1_S-0a.gguf"): 210,
        ("blocks", "0c"): 60,
        ("imatrix", "m-0d.gguf"): 40,
    }, "a file counts with its note; records of a run and folders of others are not listed"
    told = bench("cache", "ls", "--cache", kept).out
    assert "importance matrices" in told and "1410" not in told and f"{kept}: 0.0M in 5 entries" in told
    assert "m-IQ1_S-0a.gguf" in bench("cache", "ls", "quantized", "--cache", kept).out
    assert "nothing is kept there" in bench("cache", "ls", "--cache", kept / "none").out


def test_without_a_terminal_nothing_goes_unless_yes_is_said(bench: Bench, kept: Path) -> None:
    before = left(kept)
    refused = bench("cache", "clear", "--cache", kept)
    assert refused.code == 2 and "add --yes" in refused.err and len(refused.err.splitlines()) == 1
    assert left(kept) == before


def test_clearing_leaves_the_engine_records_of_runs_and_what_others_keep(bench: Bench, kept: Path) -> None:
    done = bench("cache", "clear", "--yes", "--cache", kept)
    assert done.code == 0 and "Threw out 4 entries" in done.out
    assert left(kept) == {"engine/0a1b/engine.whl", "quantized/run/records.jsonl", "mine/precious.txt"}
    assert bench("cache", "clear", "engine", "--yes", "--cache", kept).code == 0
    assert left(kept) == {"quantized/run/records.jsonl", "mine/precious.txt"}
    assert "nothing to throw out" in bench("cache", "clear", "--yes", "--cache", kept).out


def test_what_goes_can_be_chosen_by_kind_and_age(bench: Bench, kept: Path) -> None:
    assert "nothing to throw out" in bench("cache", "clear", "--older-than", "1w", "--yes", "--cache", kept).out
    assert "Threw out 1 entry" in bench("cache", "clear", "--older-than", "2d", "--yes", "--cache", kept).out
    assert not (kept / "models/m.gguf").exists() and (kept / "imatrix/m-0d.gguf").exists()
    bench("cache", "clear", "quantized", "blocks", "--yes", "--cache", kept)
    assert not (kept / "blocks/0c").exists() and not (kept / "quantized/m-IQ1_S-0a.json").exists()
    assert (kept / "imatrix/m-0d.gguf").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["imatrx"], "did you mean imatrix?"),
        (["--older-than", "3y"], "--older-than 3y: is no age"),
        (["--older-than", "1000000"], "--older-than 1000000: is more than a hundred years"),
        (["--older-than", "99999w"], "--older-than 99999w: is more than a hundred years"),
    ],
)
def test_what_cannot_be_meant_is_refused(bench: Bench, kept: Path, arguments: list[str], said: str) -> None:
    before = left(kept)
    refused = bench("cache", "clear", *arguments, "--yes", "--cache", kept)
    assert refused.code == 2 and said in refused.err and len(refused.err.splitlines()) == 1
    assert left(kept) == before


@pytest.fixture
def other_process() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.kill()
    process.communicate()


def test_nothing_goes_while_a_run_works_with_it(bench: Bench, kept: Path) -> None:
    """A stage of a run has files of its own within those of the run, which goes on when the stage has ended."""
    before = left(kept)
    work = Work(Options(cache=kept), Reporter())
    with work.scratch_files():
        with work.scratch_files():
            pass
        refused = bench("cache", "clear", "--yes", "--cache", kept)
        assert refused.code == 2 and f"process {os.getpid()} works with" in refused.err
        assert left(kept) == before
    assert bench("cache", "clear", "--yes", "--cache", kept).code == 0


def test_nothing_goes_while_a_model_is_fetched(
    bench: Bench, kept: Path, tiny: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def fetch(*_: object, **__: object) -> None:
        seen.append(owner(kept / "scratch" / own_tag()))
        raise BenchError("the connection is lost")

    monkeypatch.setattr("bench.measures.windows.single.local_model", fetch)
    monkeypatch.setattr("bench.workbench.work.reference", fetch)
    common = ["--text", text, "--window", 64, "--cache", kept]
    for command in (["ppl", tiny], ["ppl", tiny, "b.gguf"], ["run", "--model", tiny, "--out", tmp_path / "run"]):
        assert "the connection is lost" in bench(*command, *common).err
    assert seen == [os.getpid()] * 3


def test_what_killed_processes_left_behind_goes_even_if_a_later_one_has_their_number(
    kept: Path, other_process: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers are given again, in containers soon; what is older than the process of its number belonged to another one."""
    theirs, ours = (kept / "scratch" / tag for tag in (str(other_process), own_tag()))
    elsewhere, long_ago = (
        kept / "scratch" / f"{pid}@0f0f0f" for pid in (999999998, 999999999)
    )  # of a machine that shares the cache
    for folder in (theirs, ours, elsewhere, long_ago, kept / "scratch" / "999999999"):
        folder.mkdir(parents=True)
    lstat = Path.lstat
    monkeypatch.setattr(
        Path, "lstat", lambda path: SimpleNamespace(st_ctime=0.0) if path.name == long_ago.name else lstat(path)
    )
    (ours / "left").touch()
    later = psutil.Process().create_time() + 10**6
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: later if process.pid == os.getpid() else 0.0)
    with Work(Options(cache=kept), Reporter()).scratch_files():
        assert {p.name for p in (kept / "scratch").iterdir()} == {theirs.name, ours.name, elsewhere.name}
        assert not (ours / "left").exists()
    assert not ours.exists() and theirs.exists()


def test_what_killed_processes_were_making_goes_when_the_next_run_begins(kept: Path, other_process: int) -> None:
    gone, stays = [], []
    for folder in ("blocks/0c", "models", "quantized", "mine"):
        (of_killed := kept / folder / ".a.b.gguf.999999999.partial").write_bytes(b"half")
        (of_living := kept / folder / f".a.gguf.{other_process}.partial").write_bytes(b"half")
        (kept / folder / ".a.notes.partial").write_bytes(b"no number")
        (stays if folder == "mine" else gone).append(of_killed)
        stays += [of_living, kept / folder / ".a.notes.partial"]
    (unpacked := kept / "models" / ".download.999999999.partial").mkdir()
    (unpacked / "half.whl").touch()
    with Work(Options(cache=kept), Reporter()).scratch_files():
        assert not any(p.exists() for p in (*gone, unpacked)) and all(p.exists() for p in stays)


def test_a_run_that_begins_while_the_question_stands_keeps_its_cache(
    bench: Bench, kept: Path, monkeypatch: pytest.MonkeyPatch, other_process: int
) -> None:
    def answer(question: str) -> bool:
        (kept / "scratch" / str(other_process)).mkdir(parents=True)
        return True

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", answer)
    before = left(kept)
    refused = bench("cache", "clear", "--cache", kept)
    assert refused.code == 2 and f"process {other_process} works with" in refused.err and left(kept) == before


def test_what_is_known_of_the_machine_is_kept_and_thrown_out_as_anything_else(bench: Bench, kept: Path) -> None:
    (kept / "pace").mkdir()
    (kept / "pace" / "0e.json").write_bytes(bytes(70))
    assert "in 1 entry" in bench("cache", "ls", "pace", "--cache", kept).out
    bench("cache", "clear", "pace", "--yes", "--cache", kept)
    assert not (kept / "pace" / "0e.json").exists() and (kept / "imatrix/m-0d.gguf").exists()
