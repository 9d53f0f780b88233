"""Machines with a GPU and machines without one share a run: the first score, the others are timed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.measures.windows.records import TimesRecord, WindowRecord
from bench.measures.windows.runs import windows_of
from bench.records.describe import about
from bench.records.record import SiteRecord
from bench.records.run import Run
from bench.sweep.sweep import Sweep
from bench.workbench.options import Options
from tests.support.sites import scheduler, site

pytestmark = pytest.mark.gpu
WINDOWS, NAMES = 3, ("F16", "IQ2_XXS")


@pytest.fixture(scope="module")
def options(tiny: Path, text: Path, calibration: Path, cache: Path) -> Options:
    return Options(
        model=str(tiny), text=text, recipes=NAMES[1:], calibration=calibration, window=64, windows=WINDOWS, generate=2, threads=1, cache=cache,
        score_on="gpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def without_gpu() -> dict[str, str]:
    """The environment of a machine whose engine finds no GPU: Vulkan passes over what computes on the CPU."""
    return {k: v for k, v in os.environ.items() if k != "GGML_VK_VISIBLE_DEVICES"}


def scores(run: Run) -> dict[tuple[str, int], tuple[object, ...]]:
    by_file = windows_of(run).by_file
    return {(n, w): (r.result.by_kind, r.result.tokens) for n, ws in by_file.items() for w, r in ws.items()}


def test_sites_with_the_gpu_score_and_the_others_are_timed(
    options: Options, without_gpu: dict[str, str], tmp_path: Path
) -> None:
    here = Sweep(replace(options, out=tmp_path / "here"), Reporter()).execute()
    with (
        scheduler() as address,
        site(address, "with", tmp_path / "a"),
        site(address, "without", tmp_path / "b", env=without_gpu),
    ):
        # until both are there, times would go to whoever is
        run = Sweep(
            replace(options, cluster=address, cache=tmp_path / "c", out=tmp_path / "there"), Reporter()
        ).execute()
    assert {r.site for r in run.of(WindowRecord)} == {"with"}
    timed = list(run.of(TimesRecord))
    assert {r.site for r in timed} <= {"with", "without"} and len(timed) == WINDOWS * len(NAMES)
    assert {n: f.sha256 for n, f in run.files.items()} == {n: f.sha256 for n, f in here.files.items()}, "one matrix"
    assert scores(run) == scores(here)
    windows = windows_of(run)
    assert all(r.result.is_timed for ws in windows.by_file.values() for r in ws.values()) and windows.is_complete
    where = {r.site: r.scores_on for r in run.of(SiteRecord)}
    assert where["with"] is not None and where.get("without") is None
    assert any("scoring on" in line for line in about(run))


def test_without_speeds_nothing_goes_to_the_others(
    options: Options, without_gpu: dict[str, str], tmp_path: Path
) -> None:
    with (
        scheduler() as address,
        site(address, "with", tmp_path / "a"),
        site(address, "without", tmp_path / "b", env=without_gpu),
    ):
        run = Sweep(replace(options, no_speed=True, cluster=address, out=tmp_path / "run"), Reporter()).execute()
    assert {r.site for r in run.of(WindowRecord)} == {"with"} and not list(run.of(TimesRecord))


def test_sites_without_the_gpu_alone_are_refused(options: Options, without_gpu: dict[str, str], tmp_path: Path) -> None:
    with (
        scheduler() as address,
        site(address, "without", tmp_path / "b", env=without_gpu),
        pytest.raises(BenchError, match=r"no site has .*start `worker` on a machine that has it"),
    ):
        Sweep(replace(options, cluster=address, out=tmp_path / "run"), Reporter()).execute()
