"""`run --no-speed`: the same scores in less time, several windows in a job, and nothing said of speeds."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.engine.settings import Settings
from bench.execute.job import Job
from bench.execute.local import LocalExecutor
from bench.measures.registry import load_run
from bench.measures.windows.jobs import MeasureJob, PassJob, PassResult, SideResult
from bench.measures.windows.records import WindowRecord
from bench.measures.windows.runs import windows_of
from bench.present.pages.repeat import command
from bench.records.run import FILE_NAME, Run
from bench.sweep.sweep import Sweep
from bench.workbench.options import Options
from tests.conftest import Outcome

WINDOWS, NAMES = 5, ("F16", "Q8_0", "Q4_0")
NO_SPEEDS = "Speeds were not measured (--no-speed)"

Jobs = list[tuple[int, tuple[int, ...]]]


@pytest.fixture(scope="module")
def options(tiny: Path, text: Path, cache: Path) -> Options:
    """Of a run without speeds."""
    return Options(
        model=str(tiny), text=text, recipes=NAMES[1:], no_imatrix=True, window=64, windows=WINDOWS, generate=2, threads=1,
        no_speed=True, cache=cache,
    )  # fmt: skip


def arguments(options: Options, *more: str) -> list[str]:
    """The same on the command line."""
    asked = ["--model", options.model, "--text", options.text, "--recipes", ",".join(NAMES[1:]), "--no-imatrix",
             "--window", 64, "--windows", WINDOWS, "--generate", 2, "--threads", 1, "--cache", options.cache]  # fmt: skip
    return ["run", *map(str, asked), *more]


@pytest.fixture(scope="module")
def timed(options: Options, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that measured speeds."""
    out = tmp_path_factory.mktemp("runs") / "timed"
    Sweep(replace(options, no_speed=False, out=out), Reporter()).execute()
    return out


@pytest.fixture(scope="module")
def untimed(options: Options, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "untimed"
    Sweep(replace(options, out=out), Reporter()).execute()
    return out


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """(number of files, windows) of the passes that are done from now on."""
    do, found = LocalExecutor.do, Jobs()

    def do_and_tell(self: LocalExecutor, job: Job[Any], *hearing: Any) -> Any:
        if isinstance(job, PassJob):
            found.append((len(job.files), job.files[0].windows))
        return do(self, job, *hearing)

    monkeypatch.setattr(LocalExecutor, "do", do_and_tell)
    return found


def scores(run: Run) -> dict[object, object]:
    """All that is known of every token of every window of every file, and of the floor."""
    found = windows_of(run)
    kept: dict[object, object] = {("floor", *key): r.result.tokens for key, r in found.floors.items()}
    assert len(kept) == 4
    return kept | {
        (name, w): (r.result.by_kind, r.result.tokens) for name, by in found.by_file.items() for w, r in by.items()
    }


def test_scores_are_the_same_to_the_last_digit(options: Options, timed: Path, tmp_path: Path, jobs: Jobs) -> None:
    run = Sweep(replace(options, out=tmp_path / "run"), Reporter()).execute()
    assert scores(run) == scores(load_run(timed)) and len(scores(run)) == 3 * WINDOWS + 4
    assert all(r.result.tokens and r.result.tokens.kl for r in run.of(WindowRecord) if r.recipe != "F16")
    assert jobs == [(3, (0,)), (3, tuple(range(1, WINDOWS)))], "the floor needs the logits of the first"
    for record in run.of(WindowRecord):
        result = record.result
        assert (result.seconds, result.steps, result.generate_seconds, result.load_seconds) == (None,) * 4
        assert result.activity is None and result.pieces is None and result.peak_memory_bytes > 10_000_000


def test_files_that_do_not_fit_into_memory_together_are_scored_window_by_window(
    options: Options, timed: Path, tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.measures.windows.passes.groups", lambda names, *_: [[name] for name in names])
    run = Sweep(replace(options, windows=2, out=tmp_path / "run"), Reporter()).execute()
    assert jobs == [(1, (w,)) for w in (0, 0, 0, 1, 1, 1)]
    assert scores(run).items() <= scores(load_run(timed)).items()


def test_several_windows_are_compared_only_where_somebody_writes_the_reference_meanwhile(
    options: Options, tiny: Path, tmp_path: Path
) -> None:
    work = Sweep(replace(options, out=tmp_path), Reporter()).work
    model = work.executor.hold(tiny)
    job = MeasureJob(
        model=model,
        stream=work.stream(work.text(None).source).content,
        windows=(0, 1),
        settings=Settings(window=64, batch=64, ubatch=64),
        timed=False,
        reference_logits=work.scratch("window.logits"),
    )
    with pytest.raises(BenchError, match="nobody writes the reference's logits"):
        work.executor.do(job)


@pytest.mark.parametrize("victim", ["recipe", "reference", "worker"])
def test_what_dies_in_the_middle_of_a_job_costs_its_own_windows_which_are_scored_again(
    options: Options,
    timed: Path,
    tmp_path: Path,
    jobs: Jobs,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    victim: str,
) -> None:
    do, killed = LocalExecutor.do, list[int]()

    def do_and_kill(self: LocalExecutor, job: Job[Any], progress: Any = None, *hearing: Any) -> Any:
        def heard(share: float) -> None:
            if isinstance(job, PassJob) and len(job.files[0].windows) > 1 and share > 0.4 and not killed:
                worker = next(w for server in psutil.Process().children() for w in server.children())
                files = worker.children()
                chosen = {"recipe": files[-1], "reference": files[0], "worker": worker}[victim]
                killed.append(chosen.pid)
                chosen.send_signal(signal.SIGSEGV)
            if progress:
                progress(share)

        return do(self, job, heard, *hearing)

    monkeypatch.setattr(LocalExecutor, "do", do_and_kill)
    run = Sweep(replace(options, out=tmp_path / "run"), Reporter()).execute()
    told = capfd.readouterr().err
    assert killed and "SIGSEGV" in told and "the windows that it lacks are scored one by one" in told
    assert windows_of(run).is_complete and not run.failures
    assert scores(run) == scores(load_run(timed))
    counted = Counter((r.recipe, r.result.window) for r in run.of(WindowRecord))
    assert set(counted.values()) == {1}, "what went well is kept, and scored once"
    again = jobs[2:]
    assert 0 < len(again) < WINDOWS - 1, "what had been scored by then is kept"
    assert [windows for _, windows in again] == [(w,) for w in range(WINDOWS - len(again), WINDOWS)], "window by window"
    if victim == "recipe":
        assert {n for n, _ in again} == {2}, "the reference and the file that died"


def test_logits_that_were_damaged_in_a_job_of_several_windows_are_made_again(
    options: Options,
    timed: Path,
    tmp_path: Path,
    jobs: Jobs,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    do = LocalExecutor.do

    def without_last(found: PassResult) -> PassResult:
        *whole, _ = found.files
        return found.model_copy(update={"files": (*whole, SideResult(error="a row is wrong", is_damage=True))})

    def do_and_damage(self: LocalExecutor, job: Job[Any], progress: Any = None, part: Any = None) -> Any:
        if part is None:
            return do(self, job, progress)
        answer = do(self, job, progress, lambda found: part(without_last(found)))
        return without_last(answer)

    monkeypatch.setattr(LocalExecutor, "do", do_and_damage)
    run = Sweep(replace(options, out=tmp_path / "run"), Reporter()).execute()
    told = capfd.readouterr().err
    assert (
        "window.logits: is not as it was kept in the cache" in told
        and "Q4_0: a row is wrong; the windows that it lacks" in told
    )
    assert jobs[2:] == [(2, (w,)) for w in range(1, WINDOWS)] and scores(run) == scores(load_run(timed))


def test_killed_at_any_point_it_goes_on(options: Options, timed: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "bench", *arguments(options, "--no-speed", "--out", str(out))]
    for stop_at in (3, 9, 12):  # lines: on the way, in the first pass, in the job of all others
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and (not out.exists() or _lines(out) <= stop_at):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        before = (out / FILE_NAME).read_bytes()
        process.kill()
        process.wait()
        assert (out / FILE_NAME).read_bytes().startswith(before)
    run = Sweep(replace(options, out=out), Reporter()).execute()
    assert windows_of(run).is_complete and scores(run) == scores(load_run(timed))
    counted = Counter((r.recipe, r.result.window) for r in run.of(WindowRecord))
    assert set(counted.values()) == {1}, "nothing was scored twice"


def _lines(directory: Path) -> int:
    path = directory / FILE_NAME
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_run_goes_on_as_it_began(bench: Callable[..., Outcome], options: Options, timed: Path, untimed: Path) -> None:
    for directory, more in ((timed, ["--no-speed"]), (untimed, [])):
        refused = bench(*arguments(options, *more, "--out", str(directory)))
        assert refused.code == 2 and refused.out == ""
        assert refused.err.strip().splitlines()[-1] == (
            f"error: {directory}: holds another run: speeds are measured in one and not in the other (--no-speed); "
            "choose another directory with --out"
        )


def test_a_window_without_times_is_damage_where_speeds_are_measured(timed: Path, tmp_path: Path) -> None:
    lines = (timed / FILE_NAME).read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if '"kind":"window"' in line)
    record = json.loads(lines[at])
    record["result"]["seconds"] = None
    (tmp_path / FILE_NAME).write_text("\n".join([*lines[:at], json.dumps(record), *lines[at + 1 :]]) + "\n")
    [damaged] = load_run(tmp_path).damaged
    assert damaged.reason == "its times are missing"


def test_nothing_is_said_of_speeds(bench: Callable[..., Outcome], options: Options, untimed: Path) -> None:
    done = bench(*arguments(options, "--no-speed", "--out", str(untimed)))
    assert done.code == 0, done.err
    assert NO_SPEEDS in done.out
    tables = (untimed / "tables" / "tables.md").read_text()
    assert NO_SPEEDS in tables and "| Memory |" in tables
    page = (untimed / "report.html").read_text()
    said = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert NO_SPEEDS in said and '"times":null' in page.replace(" ", "")
    for text in (done.out, tables, said):
        for word in ("Window |", "| pp", "| tg", "tokens/s", "Time ratio", "Load", "Speed |", "Timings", "nan"):
            assert word not in text, word
    header = (untimed / "tables" / "full.csv").read_text().splitlines()[0]
    assert "peak_memory_bytes" in header
    assert not re.search("window_seconds|tokens_per_second|load_seconds|disturbed|time_ratio", header)
    assert not (untimed / "plots" / "kl-speed.png").exists() and (untimed / "plots" / "kl-size.png").exists()
    assert command(load_run(untimed)).endswith(" --no-speed") and "--generate" not in command(load_run(untimed))


def test_what_compares_runs_leaves_speed_out(
    bench: Callable[..., Outcome], timed: Path, untimed: Path, tmp_path: Path
) -> None:
    compared = bench("compare", timed, untimed)
    assert compared.code == 0, compared.err
    assert f"- {NO_SPEEDS} in B, so only scores are compared." in compared.out and "Time ratio" not in compared.out
    assert compared.out.count("equal to the last digit |") == 3
    for run, baseline, lacking in ((timed, untimed, "the baseline"), (untimed, timed, "the run")):
        checked = bench("check", run, "--against", baseline)
        assert checked.code == 0, checked.err
        assert f"- Speed is left out: speeds were not measured (--no-speed) in {lacking}" in checked.out
        assert "Differs from the baseline" not in checked.out and "Time of" not in checked.out
    history = bench("history", timed, untimed, "--figure", "ppl", "--out", tmp_path / "ppl")
    assert "2 runs" in history.out, history
    seconds = bench("history", timed, untimed, "--figure", "window_seconds", "--out", tmp_path / "s")
    assert "Without this figure of a recipe with all its windows" in seconds.out
    refused = bench("export", untimed, "--benchmark-json", tmp_path / "benchmark.json")
    assert refused.code == 2 and NO_SPEEDS in refused.err
    exported = bench("export", untimed, "--table", "windows", "--format", "csv").out.splitlines()
    assert exported[0] == "recipe,family,window,tokens,nll,ppl,kl,peak_memory_bytes,load,sitting"
    advised = bench("advise", "--run", untimed)
    assert advised.code == 0 and f"- {NO_SPEEDS}." in advised.out and "measured by this run" not in advised.out


def test_the_plan_tells(bench: Callable[..., Outcome], options: Options, tmp_path: Path) -> None:
    asked = arguments(options, "--out", str(tmp_path / "run"), "--dry-run")
    said = bench(*asked, "--no-speed").out
    assert re.search(r"^  Speeds   not measured \(--no-speed\)$", said, re.MULTILINE)
    with_speeds, without = (json.loads(bench(*asked, "--json", *more).out) for more in ([], ["--no-speed"]))
    assert (with_speeds["speeds"], without["speeds"]) == (True, False)
    assert without["seconds_by_stage"]["Scoring"] < with_speeds["seconds_by_stage"]["Scoring and timing"]
