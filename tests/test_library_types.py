"""What a user of the library sees under a strict type checker: `nox -s lint` checks this file, and it runs too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import pandas as pd
from matplotlib.figure import Figure

import bench

PUBLISHED = Path(__file__).parent.parent / "results" / "smollm2-135m-instruct"


def test_a_run_is_typed() -> None:
    run = assert_type(bench.load_run(PUBLISHED), bench.RunFrames)
    for frame in (
        run.files,
        run.windows,
        run.kinds,
        run.types,
        run.propagation,
        run.problems,
        run.samples,
        run.failures,
    ):
        assert isinstance(assert_type(frame, pd.DataFrame), pd.DataFrame)
    for frame in (run.paired(), run.paired("IQ1_M", against="IQ1_S"), run.equal_size(), run.tokens("IQ1_S")):
        assert isinstance(assert_type(frame, pd.DataFrame), pd.DataFrame)
    assert isinstance(assert_type(bench.compare_runs(run, str(PUBLISHED)), pd.DataFrame), pd.DataFrame)
    assert assert_type(run.reference, "str | None") == "F16"
    assert assert_type(run.is_complete, bool)
    assert assert_type(run.identity.settings.threads, int)
    assert assert_type(bench.__version__, str)


def test_a_name_that_is_not_there_is_an_error_of_types() -> None:
    run = bench.load_run(PUBLISHED)
    for wrong in ("file", "token"):
        assert not hasattr(run, wrong)
    if TYPE_CHECKING:
        _ = run.file  # type: ignore[attr-defined]
        _ = bench.load_runs  # type: ignore[attr-defined]


def use(run: bench.RunFrames, score: bench.Score) -> None:
    """Never called: it would draw and compute."""
    assert_type(run.plot("kl-size"), Figure)
    assert_type(run.plots, dict[str, str])
    assert_type(bench.run(["IQ1_S"], model=Path("a.gguf"), windows=2, quiet=True, propagation=True), bench.RunFrames)
    assert_type(bench.score("a.gguf"), bench.Score)
    assert_type(score.ppl, float)
    assert_type(score.windows, pd.DataFrame)
    assert_type(score.change(score), bench.Estimate)
    assert_type(bench.resolve_recipe("IQ1_S"), pd.DataFrame)
    assert_type(bench.imatrix_statistics("imatrix.gguf"), pd.DataFrame)
