"""Devices beside the CPU: what an engine without any says, what fits, and what a run on one is told apart by."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.core.machine import Activity
from bench.engine.jobs import Device
from bench.engine.llama import cpu_features
from bench.engine.settings import Offload, Settings
from bench.gguf_files.info import inspect
from bench.measures.registry import load_run
from bench.measures.windows.jobs import KindSums, SideResult, WindowResult
from bench.measures.windows.records import TimesRecord, WindowRecord
from bench.measures.windows.runs import windows_of
from bench.measures.windows.scorer import _together
from bench.records.run import Run
from bench.workbench.devices import _named, fitting
from tests.conftest import Outcome
from tests.support.records import file_record, run_of, window_record

RESULTS = Path(__file__).parents[2] / "results"
GPU = Device(name="CUDA0", description="A GPU", kind="gpu", free=10**9, total=2 * 10**9)
OFFLOAD = Offload(device="CUDA0", description="A GPU", layers=5)


def test_features_are_the_cpus_whatever_stands_beside_it() -> None:
    alone = "CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | REPACK = 1 | "
    assert cpu_features(alone) == ("SSE3", "AVX2", "REPACK")
    assert cpu_features(f"CUDA : ARCHS = 900 | USE_GRAPHS = 1 | {alone}") == ("SSE3", "AVX2", "REPACK")
    assert cpu_features(f"{alone}Vulkan : X = 1 | ") == ("SSE3", "AVX2", "REPACK")


def test_a_run_on_the_cpu_is_told_as_it_was_before_there_were_devices() -> None:
    assert "offload" not in Settings().model_dump_json()
    assert json.loads(Settings(offload=OFFLOAD).model_dump_json())["offload"]["device"] == "CUDA0"
    assert Settings(offload=OFFLOAD).on_cpu == Settings()
    for directory in (p.parent for p in RESULTS.glob("*/records.jsonl")):
        header = load_run(directory).header
        if header.format >= 2:
            assert header.identity.id == header.id, directory


def test_scores_of_a_device_are_another_run() -> None:
    identity = load_run(RESULTS / "smollm2-135m-instruct").header.identity
    other = identity.model_copy(update={"settings": identity.settings.model_copy(update={"offload": OFFLOAD})})
    assert other.id != identity.id
    assert any("CUDA0" in d for d in identity.differences(other))


def test_a_gpu_that_is_to_be_timed_must_be_there(bench: Callable[..., Outcome], tiny: Path, tmp_path: Path) -> None:
    for arguments, said in (
        (["--on", "gpu"], "--on gpu: the engine finds no GPU"),
        (["--gpu-layers", "2"], "belongs to --on gpu"),
    ):
        done = bench("time", tiny, *arguments, "-p", "8", "-n", "0", "-r", "1", "--threads", 1, "--cache", tmp_path)
        assert done.code == 2 and said in done.err and "Traceback" not in done.err


def test_layers_that_fit(tiny: Path) -> None:
    info = inspect(tiny)
    assert fitting(info, 10**9, 128) == info.n_layers + 1
    assert fitting(info, 1000, 128) == 0
    some = [fitting(info, n * 10**5, 128) for n in range(1, 600)]
    assert some == sorted(some) and len(set(some)) > 3, "more memory holds more layers, one after the other"


def test_devices_by_name() -> None:
    other = GPU.model_copy(update={"name": "Vulkan0"})
    shared = GPU.model_copy(update={"kind": "integrated gpu", "name": "Vulkan1"})
    assert _named("--score-on", "gpu", (shared, GPU)) is GPU and _named("--score-on", "gpu", (shared,)) is shared
    assert _named("--score-on", "gpu", (GPU, other)) is GPU and _named("--score-on", "vulkan0", (GPU, other)) is other
    with pytest.raises(BenchError, match=r"no such device.*CUDA0, Vulkan0, gpu or cpu"):
        _named("--score-on", "Vulcan0", (GPU, other))


def window(nll: float, **times: object) -> WindowResult:
    empty = dict.fromkeys(("seconds", "activity", "generate_seconds", "load_seconds"))
    sums = {"text": KindSums(tokens=1, nll=nll, squares=nll)}
    return WindowResult(window=0, by_kind=sums, peak_memory_bytes=1, **(empty | times))  # type: ignore[arg-type]


def test_scores_are_a_devices_and_times_the_cpus() -> None:
    scores = SideResult(windows=(window(1.0, seconds=0.1, scoring_seconds=0.5),))
    busy = Activity(wall=9.0, own=9.0, others=0.0)
    times = SideResult(
        windows=(window(2.0, seconds=9.0, activity=busy, load_seconds=3.0, generate_seconds=4.0),), still=0.2
    )
    found = _together(scores, times)
    [one] = found.windows
    assert one.by_kind["text"].nll == 1.0 and (one.seconds, one.generate_seconds) == (9.0, 4.0)
    assert one.is_timed and one.scoring_seconds == 0.5 and found.still == 0.2
    broken = SideResult(error="lost")
    assert _together(broken, times).error == _together(scores, broken).error == "lost"


def test_times_of_another_site_belong_to_the_scores() -> None:
    """A window that a site with a GPU scored, and another without one timed: what is said of CPU and site is about the times, and a window without times is not there yet."""
    scored = [window_record("Q8_0", w, 10.0 + w, 1.0) for w in (0, 1)]
    scores = [
        r.model_copy(update={"result": r.result.untimed(), "site": "with", "cpu": "Host of a GPU"}) for r in scored
    ]
    timed = window_record("Q8_0", 0, 99.0, 7.0).model_copy(update={"site": "without", "cpu": "Slow"})
    times = TimesRecord(**timed.model_dump(exclude={"kind", "apart"}))
    run = run_of([file_record("Q8_0", "Standard", 1000), times, *scores], windows=2)
    identity = run.identity.model_copy(
        update={"speeds": True, "settings": run.identity.settings.model_copy(update={"offload": OFFLOAD})}
    )
    run = Run(run.header.model_copy(update={"identity": identity}), run.records)
    windows = windows_of(run)
    found = windows.scored["Q8_0"]
    assert found[0].result.seconds == 7.0 and (found[0].site, found[0].cpu) == ("without", "Slow")
    assert found[0].result.by_kind == scores[0].result.by_kind
    assert not found[1].result.is_timed and found[1].site == "with"
    assert windows.has_times("Q8_0", 0) and not windows.has_times("Q8_0", 1)
    assert windows.by_file["Q8_0"].keys() == {0} and not windows.is_complete and windows.cpus == {"Slow": 1}
    assert windows.results("Q8_0") is None, "figures over fewer windows would not compare"


def test_scores_alone_are_a_record_only_where_a_device_scores() -> None:
    record = window_record("Q8_0", 0, 10.0, 1.0)
    scores = record.model_copy(update={"result": record.result.untimed()})
    here = run_of([]).identity.model_copy(update={"speeds": True})
    there = here.model_copy(update={"settings": here.settings.model_copy(update={"offload": OFFLOAD})})
    assert scores.misfit(here) == "its times are missing" and scores.misfit(there) is None
    times = TimesRecord(**record.model_dump(exclude={"kind", "apart"}))
    assert times.misfit(there) is None
    untimed = TimesRecord(**scores.model_dump(exclude={"kind", "apart"}))
    assert untimed.misfit(there) == "it has no times" and isinstance(record, WindowRecord)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--score-on", "gpu"], "the engine finds no GPU; build one for it"),
        (["--score-on", "CUDA0"], "the engine finds no GPU; build one for it"),
        (["--gpu-layers", "3"], "belongs to --score-on gpu"),
        (["--score-on", "gpu", "--gpu-layers", "0"], "--gpu-layers"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(
    bench: Callable[..., Outcome], tiny: Path, text: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = bench("run", "--model", tiny, "--text", text, "--window", 64, "--recipes", "Q8_0", "--no-imatrix", "--cache", tmp_path, "--out", tmp_path / "r", *arguments)  # fmt: skip
    assert done.code == 2 and said in done.err and "Traceback" not in done.err
    assert not (tmp_path / "r").exists()
