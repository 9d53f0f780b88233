"""A run at several sites: a real scheduler on loopback, and real workers, some of which are killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.measures.caches.options import Asked as Caches
from bench.measures.caches.runs import caches_in
from bench.measures.problems.options import Asked as Problems
from bench.measures.problems.records import ProblemRecord
from bench.measures.propagation.options import Asked as Propagation
from bench.measures.propagation.runs import propagation_of
from bench.measures.registry import load_run
from bench.measures.samples.options import Asked as Samples
from bench.measures.samples.records import SampleRecord
from bench.measures.tasks.options import Asked as Tasks
from bench.measures.tasks.records import AnswerRecord, TaskRecord
from bench.measures.windows.records import WindowRecord
from bench.measures.windows.runs import windows_of
from bench.records.record import FailureRecord, SiteRecord
from bench.records.run import FILE_NAME, Run
from bench.sweep.sweep import Sweep
from bench.workbench.options import Options
from tests.cluster.ssh_server import ssh_server
from tests.conftest import Outcome
from tests.support.sites import scheduler, site
from tests.support.tasks import write_tasks
from tests.support.tiny import write_model, write_text

WINDOWS, NAMES = 5, ("F16", "Q8_0", "Q4_0")


@pytest.fixture(scope="module")
def options(tiny: Path, text: Path, cache: Path) -> Options:
    return Options(
        model=str(tiny), text=text, recipes=NAMES[1:], no_imatrix=True, window=64, windows=WINDOWS, generate=2, threads=1, cache=cache
    )  # fmt: skip


@pytest.fixture(scope="module")
def here(options: Options, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same run on this machine alone."""
    return Sweep(replace(options, out=tmp_path_factory.mktemp("here")), Reporter()).execute()


def scores(run: Run) -> dict[tuple[str, int], tuple[object, ...]]:
    """All that is not a time, to the last digit."""
    return {
        (name, w): (r.result.by_kind, r.result.tokens)
        for name, windows in windows_of(run).by_file.items()
        for w, r in windows.items()
    }


def test_two_sites_of_this_machine_give_the_same_records(
    options: Options, here: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Sweep(replace(options, cluster="local:2", out=tmp_path), Reporter()).execute()
    assert scores(run) == scores(here) and len(scores(run)) == WINDOWS * len(NAMES)
    of_window = {
        r.result.window: {o.site for o in run.of(WindowRecord) if o.result.window == r.result.window}
        for r in run.of(WindowRecord)
    }
    assert all(len(sites) == 1 for sites in of_window.values()), "a pass stays at one site"
    assert (
        {site for sites in of_window.values() for site in sites}
        == {"local-1", "local-2"}
        == {r.site for r in run.of(SiteRecord)}
    )
    assert windows_of(run).floors.keys() == windows_of(here).floors.keys()
    assert "failed" not in capfd.readouterr().err
    assert load_run(tmp_path).header.id == here.header.id
    assert not list((options.cache / "cluster").glob("part-*"))


def test_every_measure_and_every_choice_is_the_same(options: Options, free_choice: Path, tmp_path: Path) -> None:
    """An importance matrix and types chosen by what sites measured, and all that is measured beside windows."""
    model = write_model(tmp_path / "m.gguf", control=("<|fim_begin|>", "<|fim_hole|>", "<|fim_end|>"))
    problems = tmp_path / "problems.jsonl"  # which sites are sent
    problems.write_text(
        "".join(json.dumps({"prefix": f"a = {i}\n", "middle": f"b = {i}", "suffix": "\nc"}) + "\n" for i in range(3))
    )
    calibration = write_text(tmp_path / "calibration.txt", 3000, seed=7)
    asked = replace(
        options,
        model=str(model),
        recipes=(str(free_choice), "Q4_0"),
        no_imatrix=False,
        calibration=calibration,
        windows=2,
        measures={
            "propagation": Propagation(propagation=True),
            "samples": Samples(samples=3),
            "caches": Caches(types=("q8_0",)),
            "problems": Problems(kinds=(str(problems),)),
            "tasks": Tasks(tasks=("tiny",), task_path=write_tasks(tmp_path)),  # which sites load themselves
        },
    )
    runs = []
    for name, cluster in (("there", "local:2"), ("here", None)):  # there first, so that nothing is known yet
        cache = tmp_path / f"cache-{name}"
        runs.append(Sweep(replace(asked, cluster=cluster, cache=cache, out=tmp_path / name), Reporter()).execute())
    there, here = runs
    assert scores(there) == scores(here)
    [chosen] = {f for f in there.files if f.startswith("FREE")}
    assert there.files[chosen].types == here.files[chosen].types
    assert there.files[chosen].choice == here.files[chosen].choice
    assert propagation_of(there) == propagation_of(here) != {}
    assert len({f.importance_sha256 for run in runs for f in run.files.values()} - {None}) == 1
    assert caches_in(there) == caches_in(here) != {}
    solved = [{(r.recipe, r.batch): r.results for r in run.of(ProblemRecord)} for run in runs]
    assert solved[0] == solved[1] != {}
    completions = [{r.recipe: r.completions for r in run.of(SampleRecord)} for run in runs]
    assert completions[0] == completions[1] and len(completions[0]) == 3
    answered = [
        {(r.recipe, r.task.name, r.batch): (r.probabilities, r.written) for r in run.of(AnswerRecord)} for run in runs
    ]
    assert answered[0] == answered[1] and len(answered[0]) == 3 * 2
    judged = [{(r.recipe, r.task.name): r.items for r in run.of(TaskRecord)} for run in runs]
    assert judged[0] == judged[1] and len(judged[0]) == 3 * 2


def test_sites_of_other_machines_build_what_they_lack(options: Options, here: Run, tiny: Path, tmp_path: Path) -> None:
    """Each with a cache of its own; the model lies elsewhere, and only its name is the same."""
    models = tmp_path / "models"
    models.mkdir()
    (models / tiny.name).write_bytes(tiny.read_bytes())
    hidden = tmp_path / "coordinator" / tiny.name
    hidden.parent.mkdir()
    hidden.write_bytes(tiny.read_bytes())
    with (
        scheduler() as address,
        site(address, "a", tmp_path / "a", "--models", str(models)),
        site(address, "b", tmp_path / "b", "--models", str(models)),
    ):
        asked = replace(options, model=str(hidden), cluster=address, cache=tmp_path / "cache", out=tmp_path / "out")
        run = Sweep(asked, Reporter()).execute()
    assert scores(run) == scores(here)
    for name in "ab":
        assert {f.name.split("-")[1] for f in (tmp_path / name / "quantized").glob("*.gguf")} >= {"Q8_0", "Q4_0"}


def test_sites_that_are_started_over_ssh(
    options: Options, here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two names of this machine. The sites have caches where users have them."""
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    before = {p.pid for p in psutil.process_iter()}
    with ssh_server(home, ("ann", "bob")):
        run = Sweep(replace(options, cluster="ssh:ann,bob", out=tmp_path / "out"), Reporter()).execute()
        assert scores(run) == scores(here)
        assert len({r.site for r in run.of(SiteRecord)}) == 1, "two sites of one machine have one name"
        with pytest.raises(
            BenchError, match=r"--cluster ssh:nobody: could not be started .*; each host must be reached by `ssh HOST`"
        ):
            Sweep(replace(options, cluster="ssh:nobody", out=tmp_path / "none"), Reporter()).execute()
    for _ in range(100):
        left = [
            p
            for p in psutil.process_iter(["cmdline"])
            if p.pid not in before and "dask_spec" in " ".join(p.info["cmdline"] or [])
        ]
        if not left:
            return
        time.sleep(0.2)
    raise AssertionError(f"still there: {left}")


@pytest.mark.long
def test_a_site_that_is_killed_costs_what_it_was_at(
    options: Options, here: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with scheduler() as address, site(address, "stays", options.cache), site(address, "goes", options.cache) as goes:
        out = tmp_path / "out"
        killer = threading.Thread(target=_kill_at_work, args=(goes, out))
        killer.start()
        run = Sweep(replace(options, cluster=address, out=out), Reporter()).execute()
        killer.join()
    assert scores(run) == scores(here) and not run.failures
    assert sum(1 for r in run.of(WindowRecord)) == WINDOWS * len(NAMES), "nothing was put on record twice"
    assert "goes" in capfd.readouterr().err


def test_a_site_that_cannot_write_what_it_builds_costs_nothing(options: Options, here: Run, tmp_path: Path) -> None:
    """As where its disk is full: no file may be as large as one that it has to build."""
    with (
        scheduler() as address,
        site(address, "works", options.cache),
        site(address, "full", tmp_path / "full", largest_file=1_000_000),
    ):
        run = Sweep(replace(options, cluster=address, out=tmp_path / "out"), Reporter()).execute()
    assert scores(run) == scores(here) and not run.failures
    assert {r.site for r in run.of(WindowRecord)} == {"works"}


@pytest.mark.long
def test_a_site_ten_times_slower_keeps_nobody_waiting(options: Options, here: Run, tmp_path: Path) -> None:
    """Its processes that measure stand still for nine tenths of the time."""
    over = threading.Event()
    with scheduler() as address, site(address, "fast", options.cache), site(address, "slow", options.cache) as slow:
        brake = threading.Thread(target=_slow_down, args=(slow, over))
        brake.start()
        try:
            run = Sweep(replace(options, cluster=address, out=tmp_path / "out"), Reporter()).execute()
        finally:
            over.set()
            brake.join()
    assert scores(run) == scores(here) and not run.failures
    assert sum(1 for r in run.of(WindowRecord)) == WINDOWS * len(NAMES), "nothing was put on record twice"
    of_site = Counter(r.site for r in run.of(WindowRecord))
    assert of_site["fast"] > of_site["slow"]


def _slow_down(process: subprocess.Popen[str], over: threading.Event) -> None:
    """Let a site compute for a tenth of the time only, until it is over."""
    while not over.is_set():
        found = [p for p in psutil.Process(process.pid).children(recursive=True) if _measures(p)]
        for one_signal, rest in ((signal.SIGSTOP, 0.18), (signal.SIGCONT, 0.02)):
            for p in found:
                with suppress(psutil.NoSuchProcess):
                    p.send_signal(one_signal)
            time.sleep(rest)


def _measures(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return "bench.execute.worker" in process.cmdline()
    return False


def _kill_at_work(process: subprocess.Popen[str], out: Path) -> None:
    """Kill a site and all its processes, as a power cut does, once something is on record."""
    _wait_for_a_window(out)
    for found in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        found.kill()


def _wait_for_a_window(out: Path) -> None:
    """Until something is on record."""
    for _ in range(1200):
        if (out / FILE_NAME).exists() and b'"kind":"window"' in (out / FILE_NAME).read_bytes():
            return
        time.sleep(0.05)


@pytest.mark.long
def test_a_scheduler_that_starts_again_costs_what_was_under_way(
    options: Options, here: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-dashboard",
    ]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    first, out = start(), tmp_path / "out"
    again: list[subprocess.Popen[bytes]] = []

    def restart() -> None:
        _wait_for_a_window(out)
        first.kill()
        first.wait()
        again.append(start())

    address = f"tcp://127.0.0.1:{port}"
    try:
        with site(address, "a", options.cache), site(address, "b", options.cache):
            thread = threading.Thread(target=restart)
            thread.start()
            run = Sweep(replace(options, cluster=address, out=out), Reporter()).execute()
            thread.join()
    finally:
        for process in (first, *again):
            process.kill()
            process.wait()
    assert scores(run) == scores(here) and not run.failures
    assert sum(1 for r in run.of(WindowRecord)) == WINDOWS * len(NAMES)
    assert "no site is there; the run goes on when one joins" in capfd.readouterr().err


def test_ctrl_c_ends_everything_and_the_run_goes_on_later(options: Options, here: Run, tmp_path: Path) -> None:
    arguments = [
        "run", "--model", options.model, "--text", options.text, "--recipes", "Q8_0,Q4_0", "--no-imatrix", "--window", 64, "--windows", WINDOWS,
        "--generate", 2, "--threads", 1, "--cache", options.cache, "--out", tmp_path / "out", "--cluster", "local:2",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, arguments)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    records = tmp_path / "out" / FILE_NAME
    while process.poll() is None and not (records.exists() and b'"kind":"window"' in records.read_bytes()):
        time.sleep(0.05)
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    _gone, alive = psutil.wait_procs(started, 30)
    assert not alive
    run = Sweep(replace(options, cluster="local:2", out=tmp_path / "out"), Reporter()).execute()
    assert scores(run) == scores(here)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("tcp://127.0.0.1:9", "--cluster tcp://127.0.0.1:9: no Dask scheduler answers there"),
        ("here", "--cluster here: is not understood; give tcp://HOST:PORT"),
        ("tcp://host", "is not understood"),
        ("local:0", "is not understood"),
        ("local:64", "--cluster local:64: takes 64 CPUs with --threads 1"),
    ],
)
def test_what_is_no_cluster_is_refused_before_anything_is_computed(
    bench: Callable[..., Outcome], options: Options, tmp_path: Path, asked: str, said: str
) -> None:
    outcome = bench(
        "run", "--model", options.model, "--text", options.text, "--recipes", "Q8_0", "--no-imatrix", "--window", 64, "--threads", 1,
        "--cache", tmp_path / "cache", "--out", tmp_path / "out", "--cluster", asked,
    )  # fmt: skip
    assert outcome.code == 2 and said in outcome.err and "Traceback" not in outcome.err
    assert not (tmp_path / "out" / FILE_NAME).exists()


def test_a_site_of_another_version_is_left_out(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.cluster import setup as cluster_setup

    required = cluster_setup.required
    monkeypatch.setattr("bench.sweep.sweep.required", lambda work: replace(required(work), version="0.0.1"))
    with pytest.raises(
        Exception,
        match=r"no site can take part; local-[12] has version .* and the coordinator 0.0.1; install the same at both",
    ):
        Sweep(replace(options, cluster="local:2", out=tmp_path / "out"), Reporter()).execute()


def test_a_worker_without_a_scheduler(bench: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = bench("worker", "tcp://127.0.0.1:9", "--cache", tmp_path)
    assert outcome.code == 2 and "no Dask scheduler answers there" in outcome.err


def test_records_of_sites_are_told_in_json(options: Options, tmp_path: Path) -> None:
    run = Sweep(replace(options, cluster="local:1", windows=1, out=tmp_path), Reporter()).execute()
    lines = [json.loads(line) for line in (tmp_path / FILE_NAME).read_text().splitlines()]
    assert [line["site"] for line in lines if line["kind"] == "site"] == ["local-1"]
    assert run.of(SiteRecord)[0].machine.logical_cpus == os.cpu_count()


def test_a_run_that_looks_at_its_intervals_does_so_over_sites(
    options: Options, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = replace(options, until="ppl 0.0001%", windows=16, window=32, no_speed=True)
    here = Sweep(replace(asked, out=tmp_path / "here"), Reporter()).execute()
    capfd.readouterr()
    run = Sweep(replace(asked, cluster="local:2", out=tmp_path / "there"), Reporter()).execute()
    told = capfd.readouterr().err
    assert "failed" not in told and "left out" not in told
    assert scores(run) == scores(here)
    looked = [{n: (r.widest, r.narrow, r.recipe) for n, r in found.looks.items()} for found in (run, here)]
    assert looked[0] == looked[1] and len(looked[0]) > 1
    assert not list(run.of(FailureRecord))
