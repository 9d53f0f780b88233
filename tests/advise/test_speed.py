"""Expected speed: limits of a machine, and how near files of a run come to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.advise.speed import (
    Limits,
    Reach,
    Speed,
    accuracy,
    described_limits,
    expected,
    kept_accuracy,
    limits_here,
    published_reach,
    reach_of,
    reached,
)
from bench.core.checked import write_checked
from bench.engine.jobs import LibraryJob, Pace, PaceJob
from bench.execute.local import LocalExecutor
from bench.measures.registry import load_run
from tests.support.records import file_record, run_of, window_record

RESULTS = Path(__file__).parents[2] / "results"
#: 10 GB/s; one thread multiplies 10 G weights of F16 a second and 1 G of IQ2_XXS.
LIMITS = Limits(2, 10e9, {"F16": 10e9, "IQ2_XXS": 1e9}, Reach(0.5, 0.8, "files of a test"))


def test_a_token_takes_as_long_as_the_slower_of_reading_and_multiplying() -> None:
    # 1e9 weights of F16: 2 GB at 10 GB/s, or 1e9 at 20e9 a second; of IQ2_XXS: 66 bytes for 256 weights, or 2e9 a second
    assert LIMITS.seconds({"F16": 1e9}) == pytest.approx(0.2)
    assert LIMITS.seconds({"IQ2_XXS": 1e9}) == pytest.approx(0.5)
    assert LIMITS.seconds({"F16": 1e9, "IQ2_XXS": 1e9}) == pytest.approx(0.7)
    assert LIMITS.seconds({"F16": 1e9}, n_bytes=4e9) == pytest.approx(0.4)
    assert LIMITS.seconds({"Q7_X": 1e9}) is None and LIMITS.seconds({}) is None


def test_the_error_is_a_range_whose_lower_end_reads_a_full_context() -> None:
    speed = expected(LIMITS, {"F16": 1e9}, cache_bytes=1e9)
    assert speed == Speed(pytest.approx(0.5 / 0.3), pytest.approx(0.8 / 0.2))
    assert str(speed) == "1.7–4.0"
    assert expected(None, {"F16": 1e9}, 0) is None


def test_the_range_is_what_files_of_a_run_reached() -> None:
    f16 = file_record("F16", "Reference", 2 * 10**9).model_copy(update={"weights_by_type": {"F16": 10**9}})
    iq2 = file_record("IQ2_XXS", "Standard", 10**9).model_copy(update={"weights_by_type": {"IQ2_XXS": 10**9}})
    # 32 tokens in a fiftieth of the seconds of a window
    run = run_of([f16, iq2, window_record("F16", 0, 10, 400.0), window_record("IQ2_XXS", 0, 20, 2000.0)])
    found = reached(run, LIMITS)
    assert found == {"F16": (pytest.approx(4), pytest.approx(5)), "IQ2_XXS": (pytest.approx(0.8), pytest.approx(2))}
    assert reach_of(found, "x") == Reach(pytest.approx(0.4), pytest.approx(0.8), "x")
    assert reach_of({}, "x") is None


def test_nothing_is_expected_of_a_mixture_whose_experts_are_not_known() -> None:
    types = {"blk.0.ffn_up_exps.weight": "F16"}
    file = file_record("F16", "Reference", 1).model_copy(update={"weights_by_type": {"F16": 10**9}, "types": types})
    assert reached(run_of([file, window_record("F16", 0, 10, 400.0)]), LIMITS) == {}


def test_the_published_range_is_that_of_published_runs() -> None:
    for kept in kept_accuracy().machines:
        runs = {name: load_run(RESULTS / name) for name in kept.files}
        assert {str(run.identity.machine) for run in runs.values()} == {kept.machine}
        assert accuracy(runs, kept.pace) == kept
    assert 0 < published_reach().low < published_reach().high


def test_a_machine_is_measured_and_the_best_is_kept(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    pace = executor.do(PaceJob(threads=1))
    assert pace.bandwidth > 1e8
    assert {"F16", "Q4_K", "IQ2_XXS", "MXFP4"} <= pace.kernels.keys() and min(pace.kernels.values()) > 1e7
    library = executor.do(LibraryJob())
    limits_here(tmp_path, library, 1)
    (kept,) = (tmp_path / "pace").iterdir()
    faster = Pace(threads=1, bandwidth=1e15, kernels={"F16": 1e15, "Q4_K": 1.0})
    write_checked(kept, faster)
    again = limits_here(tmp_path, library, 1)
    assert (again.bandwidth, again.kernels["F16"]) == (1e15, 1e15) and again.kernels["Q4_K"] > 1e7


def test_a_described_machine_says_what_is_assumed_of_it() -> None:
    told = described_limits(LIMITS, 50e9, 8)
    assert (told.bandwidth, told.threads) == (50e9, 8)
    assert told.assumption() == (
        "Assumed: 8 threads (as told), 50 GB/s of memory bandwidth (as told), cores as fast as this machine's."
    )
    assert described_limits(LIMITS, None, 8).assumption().endswith("; --bandwidth describes another machine.")
    assert (
        described_limits(LIMITS, None, None).assumption()
        == LIMITS.assumption()
        == (
            "Assumed: 2 threads and 10 GB/s of memory bandwidth (measured here); --threads and --bandwidth describe another machine."
        )
    )
