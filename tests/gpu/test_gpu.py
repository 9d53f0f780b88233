"""Scores on a GPU: the chain on a tiny model and on the default one, beside the CPU's. `nox -s gpu` runs it; Mesa's driver for the CPU will do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.choose.prober import Prober
from bench.core.errors import BenchError
from bench.core.files import cache_directory
from bench.core.progress import Reporter
from bench.engine.jobs import Device, DevicesJob
from bench.execute.local import LocalExecutor
from bench.measures.registry import load_run
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import mean_kl
from bench.measures.windows.floor import floors_of
from bench.measures.windows.records import WindowRecord
from bench.measures.windows.runs import windows_of
from bench.measures.windows.single import score
from bench.present.pages.repeat import command
from bench.quantize.imatrix_file import read
from bench.recipes.recipe import find_recipes
from bench.records.run import Run
from bench.sweep.outline import DEVICE_PACE, outline
from bench.sweep.sweep import Sweep
from bench.workbench.devices import known_pace
from bench.workbench.options import Options
from bench.workbench.work import Work
from tests.conftest import Outcome

pytestmark = pytest.mark.gpu
PUBLISHED = Path(__file__).parents[2] / "results" / "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def device(cache: Path) -> Device:
    return LocalExecutor(cache).do(DevicesJob()).devices[0]


@pytest.fixture(scope="module")
def options(tiny: Path, text: Path, calibration: Path, cache: Path) -> Options:
    return Options(
        model=str(tiny), text=text, recipes=("Q4_0", "IQ2_XXS"), calibration=calibration, window=128, windows=2, generate=2,
        threads=1, cache=cache,
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(options: Options, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """On the GPU, and on the CPU, with one importance matrix, so that both are of the same files."""
    out, matrix = tmp_path_factory.mktemp("runs"), Work(options, Reporter()).importance
    assert matrix is not None
    asked = replace(options, calibration=None, imatrix=matrix.path)
    there = Sweep(replace(asked, score_on="gpu", out=out / "gpu"), Reporter()).execute()
    return there, Sweep(replace(asked, out=out / "cpu"), Reporter()).execute()


def test_the_run_says_where_its_scores_are_from(runs: tuple[Run, Run], device: Device) -> None:
    there, here = runs
    offload = there.identity.settings.offload
    assert offload is not None and (offload.device, offload.layers) == (device.name, 5)
    assert here.identity.settings.offload is None and there.header.id != here.header.id
    assert f"--score-on {device.name} --gpu-layers 5" in command(there)
    assert any("settings.offload" in d for d in there.identity.differences(here.identity))


def test_scores_differ_from_the_cpu_by_what_the_floor_says(runs: tuple[Run, Run]) -> None:
    there, here = runs
    floors = floors_of(there)
    assert {f.record.way for f in floors.measured} == {"batches", "attention", "cpu"}
    on_cpu = next(f for f in floors.measured if f.recipe == "F16" and f.record.way == "cpu")
    assert not on_cpu.is_none, "it is another backend"
    assert {n: f.sha256 for n, f in there.files.items()} == {n: f.sha256 for n, f in here.files.items()}
    for name in there.files:
        a, b = (windows_of(run).results(name) or [] for run in runs)
        change = abs(stats.perplexity(a).ppl.value / stats.perplexity(b).ppl.value - 1)
        assert change < 10 * max(floors.ppl(name), 1e-6), name
        if name != "F16":
            own, other = mean_kl(a), mean_kl(b)
            assert own is not None and other is not None
            assert abs(float(own.mean()) - float(other.mean())) < 10 * max(floors.kl(name), 1e-6), name


def test_speeds_are_the_cpus(runs: tuple[Run, Run]) -> None:
    there, _ = runs
    assert there.identity.speeds and all(r.result.is_timed and r.isa == "AVX2" for r in there.of(WindowRecord))
    assert len(there.of(WindowRecord)) == 2 * len(there.files)


def test_an_importance_matrix_is_the_cpus_but_for_rounding(
    bench: Callable[..., Outcome], options: Options, tmp_path: Path
) -> None:
    found = []
    for name in ("cpu", "gpu"):
        out = tmp_path / f"{name}.gguf"
        done = bench(
            "imatrix",
            out,
            "--model",
            options.model,
            "--calibration",
            options.calibration,
            "--threads",
            1,
            "--cache",
            tmp_path,
            "--score-on",
            name,
        )
        assert done.code == 0, done.err
        found.append(read(out))
    here, there = found
    assert here.entries.keys() == there.entries.keys()
    for name, entry in here.entries.items():
        assert there.entries[name].sums == pytest.approx(
            entry.sums, rel=0.02, abs=1e-3 * float(abs(entry.sums).max())
        ), name


def test_types_are_tried_there(options: Options) -> None:
    """What the types of a tensor do to the output; the embeddings too, of which the device holds a copy as output."""
    tried = [{"blk.1.ffn_down.weight": "Q2_K"}, {"token_embd.weight": "Q4_K"}]
    there, here = (
        Prober(Work(replace(options, score_on=where, no_imatrix=True, calibration=None), Reporter())).divergences(
            tried, (0,), "types"
        )
        for where in ("gpu", "cpu")
    )
    for one, other in zip(there, here, strict=True):
        assert one == pytest.approx(other, rel=0.02) and float(other.mean()) > 1e-6


def test_perplexity_of_any_file(bench: Callable[..., Outcome], options: Options, device: Device) -> None:
    told = []
    for where in ("cpu", device.name):
        done = bench(
            "ppl",
            options.model,
            "--text",
            options.text,
            "--window",
            128,
            "--windows",
            2,
            "--threads",
            1,
            "--cache",
            options.cache,
            "--score-on",
            where,
            "--json",
        )
        assert done.code == 0, done.err
        told.append(json.loads(done.out)["ppl"])
    assert told[0] == pytest.approx(told[1], rel=1e-3) and device.name in done.err


def test_layers_may_be_split(bench: Callable[..., Outcome], options: Options) -> None:
    done = bench(
        "ppl",
        options.model,
        "--text",
        options.text,
        "--window",
        128,
        "--windows",
        1,
        "--threads",
        1,
        "--cache",
        options.cache,
        "--score-on",
        "gpu",
        "--gpu-layers",
        2,
    )
    assert done.code == 0 and "2 of 5 layers" in done.err


def test_what_does_not_fit_is_refused(options: Options, monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
    small = device.model_copy(update={"free": 4_000_000, "total": 4_000_000})
    do = LocalExecutor.do
    monkeypatch.setattr(
        LocalExecutor,
        "do",
        lambda self, job, *more: (
            type("D", (), {"devices": (small,)}) if isinstance(job, DevicesJob) else do(self, job, *more)
        ),
    )
    with pytest.raises(BenchError, match=r"GB free, which hold (\d of the 5 layers|no layer)"):
        Sweep(replace(options, score_on="gpu", gpu_layers=5), Reporter())


def test_the_default_model_within_the_floor(tmp_path: Path) -> None:
    """Two windows of IQ2_XXS, short ones: a driver that computes on the CPU takes minutes for 2048 tokens."""
    options = Options(
        recipes=("IQ2_XXS",),
        windows=2,
        window=128,
        no_speed=True,
        score_on="gpu",
        cache=cache_directory(None),
        out=tmp_path,
    )
    Sweep(options, Reporter()).execute()
    run = load_run(tmp_path)
    floors = {f.recipe: f for f in floors_of(run).measured if f.record.way == "cpu"}
    own = floors[run.reference or ""]
    assert own.kl is not None and float(own.kl.mean()) < 1e-4 and own.of_ppl < 1e-3
    assert floors["IQ2_XXS"].of_ppl < 0.05


def test_the_cpu_beside_a_gpu_scores_what_it_does_alone() -> None:
    """To the last digit: a window of the default model against the run that was published."""
    work = Work(Options(cache=cache_directory(None), generate=0, windows=1, threads=2), Reporter())
    scored = score(work, str(work.reference.path), timed=False)
    published = windows_of(load_run(PUBLISHED)).by_file["F16"][0].result.by_kind
    assert scored.perplexity_json()["nll"] == [sum(s.nll for s in published.values())]


def test_speeds_of_a_device_have_a_label_of_their_own(
    bench: Callable[..., Outcome], options: Options, device: Device
) -> None:
    asked = (
        "time",
        options.model,
        "--on",
        "gpu",
        "-p",
        "16",
        "-n",
        "2",
        "-r",
        "1",
        "--threads",
        1,
        "--cache",
        options.cache,
    )
    done = bench(*asked)
    assert done.code == 0, done.err
    assert f"Tokens/s on {device.name}" in done.out and "These are no speeds of the CPU" in done.out
    rows = json.loads(bench(*asked, "--json").out)
    assert {(r["gpu_info"], r["n_gpu_layers"]) for r in rows} == {(device.description, 5)}
    assert device.name.startswith(rows[0]["backends"])


def test_a_plan_goes_by_the_pace_of_the_device(runs: tuple[Run, Run], options: Options) -> None:
    """Which the run before has kept."""
    there = replace(options, score_on="gpu")
    pace = known_pace(there, print)
    assert pace is not None and pace > 0
    assert DEVICE_PACE not in outline(there, find_recipes(("Q4_0",)), "a text", 1).unforeseen


def test_a_driver_that_hangs_is_one_line(options: Options, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bench.workbench.devices._TO_CHECK", 0.05)
    monkeypatch.setattr("bench.workbench.devices._READ", 1e15)
    with pytest.raises(BenchError, match=r"cannot be used: it gave no answer in .* update its driver"):
        Sweep(replace(options, score_on="gpu", out=tmp_path / "r"), Reporter())
    assert not (tmp_path / "r").exists()
