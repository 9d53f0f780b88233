"""The package as a library."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bench
from bench.api.runs import RunFrames
from bench.core.version import this_version
from bench.measures.problems.jobs import ProblemResult
from bench.measures.problems.records import ProblemRecord, ProblemSetIdentity
from bench.measures.propagation.tables import propagation_table
from bench.measures.samples.jobs import Completion
from bench.measures.samples.records import SampleRecord
from bench.measures.windows.equal_size import equal_size_table
from bench.measures.windows.jobs import REFERENCE_TOP_IS_CORRECT, SAME_TOP, TOP_IS_CORRECT, KindSums, TokenData, pack
from bench.present import columns
from bench.present.plots import plot_titles
from bench.quantize.imatrix import Entry, ImportanceMatrix
from bench.quantize.imatrix_file import write
from bench.records.record import FailureRecord
from bench.records.run import FILE_NAME, Record
from tests.support.records import file_record, identity, run_of, window_record

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "results" / "smollm2-135m-instruct"
SIZES = ROOT / "results" / "smollm2-135m-instruct-sizes"


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = "import bench, sys; dir(bench); print([m for m in ('pandas', 'numpy', 'pydantic', 'bench.api', 'setuptools_scm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_scoring_leaves_the_backend_of_plots_alone() -> None:
    """bench.present.plots chooses one without windows, which would take a notebook's plots away."""
    code = "import bench, sys, bench.measures.windows.single; bench.load_run; bench.score; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"


def test_what_is_public_is_there_and_nothing_else_is() -> None:
    for name in bench.__all__:
        assert getattr(bench, name) is not None and name in dir(bench)
    with pytest.raises(AttributeError, match="load_runs"):
        bench.load_runs  # type: ignore[attr-defined]  # noqa: B018


def tokens(nll: list[float], kinds: list[int], kl: list[float] | None, flags: list[int]) -> TokenData:
    return TokenData(
        kind_names=("code", "prose"),
        kinds=pack(np.array(kinds), np.uint8),
        nll=pack(np.array(nll), np.float32),
        flags=pack(np.array(flags), np.uint8),
        kl=None if kl is None else pack(np.array(kl), np.float32),
        p_change=None if kl is None else pack(-np.array(kl), np.float32),
    )


def a_run() -> RunFrames:
    """Windows of 8 tokens, of which 3 are scored: two windows of the reference and of a file, of another file one."""
    records: list[Record] = [
        file_record("F16", "Reference", 160).model_copy(
            update={"types": {"blk.1.attn_v.weight": "F16", "output_norm.weight": "F32"}}
        ),
        file_record("IQ1_S", "Standard", 20, replaced={"blk.1.attn_v.weight": ("IQ1_S", "IQ4_NL")}).model_copy(
            update={"types": {"blk.1.attn_v.weight": "IQ4_NL", "output_norm.weight": "F32"}}
        ),
        file_record("IQ1_M", "Standard", 25),
    ]
    scored: list[tuple[str, int, TokenData]] = [
        ("F16", 0, tokens([1.0, 2.0, 3.0], [0, 0, 1], None, [TOP_IS_CORRECT, 0, 0])),
        ("F16", 1, tokens([1.0, 1.0, 1.0], [1, 1, 1], None, [0, 0, 0])),
        (
            "IQ1_S",
            0,
            tokens([2.0, 2.0, 5.0], [0, 0, 1], [0.5, 0.25, 0.75], [REFERENCE_TOP_IS_CORRECT, SAME_TOP, SAME_TOP]),
        ),
        ("IQ1_S", 1, tokens([1.0, 1.0, 4.0], [1, 1, 1], [0.0, 0.0, 1.5], [0, 0, 0])),
        ("IQ1_M", 1, tokens([3.0, 3.0, 3.0], [1, 1, 1], [0.5, 0.5, 0.5], [0, 0, 0])),
    ]
    by_kind = {
        ("F16", 0): {"code": (2, 3.0), "prose": (1, 3.0)},
        ("F16", 1): {"prose": (3, 3.0)},
        ("IQ1_S", 0): {"code": (2, 4.0), "prose": (1, 5.0)},
        ("IQ1_S", 1): {"prose": (3, 6.0)},
        ("IQ1_M", 1): {"prose": (3, 9.0)},
    }
    for name, window, data in scored:
        record = window_record(name, window, 10, 2 + window, others=9 if name == "IQ1_M" else 0)
        sums = {k: KindSums(tokens=n, nll=nll, squares=nll**2) for k, (n, nll) in by_kind[name, window].items()}
        result = record.result.model_copy(update={"by_kind": sums, "tokens": data})
        records.append(record.model_copy(update={"result": result, "sitting": "noon"}))
    return RunFrames(run_of(records, windows=2, window=8))


def test_windows() -> None:
    frame = a_run().windows
    assert list(frame.index) == [("F16", 0), ("F16", 1), ("IQ1_S", 0), ("IQ1_S", 1), ("IQ1_M", 1)]
    row = frame.loc["IQ1_S", 0]
    assert row["tokens"] == 3 and row["nll"] == 9.0
    assert row["ppl"] == pytest.approx(math.exp(3.0)) and row["kl"] == pytest.approx(0.5)
    assert row["seconds"] == 2.0 and row["sitting"] == "noon" and row["family"] == "Standard"
    assert frame["kl"].isna().tolist() == [True, True, False, False, False]
    assert frame["disturbed"].tolist() == [False, False, False, False, True]


def test_kinds_are_of_files_with_all_their_windows() -> None:
    frame = a_run().kinds
    assert list(frame.index) == [("F16", "code"), ("F16", "prose"), ("IQ1_S", "code"), ("IQ1_S", "prose")]
    assert frame.loc[("IQ1_S", "prose"), "tokens"] == 4
    assert frame.loc[("IQ1_S", "prose"), "ppl"] == pytest.approx(math.exp(11 / 4))
    assert frame.loc[("IQ1_S", "prose"), "kl"] == pytest.approx((0.75 + 1.5) / 4)
    assert frame.loc[("IQ1_S", "code"), "kl"] == pytest.approx(0.375)
    assert frame.loc["F16", "kl"].isna().all()


def test_types() -> None:
    frame = a_run().types
    row = frame.loc[("IQ1_S", "blk.1.attn_v.weight")]
    assert (row["layer"], row["kind"], row["type"], row["asked"]) == (1, "attention-v", "IQ4_NL", "IQ1_S")
    assert row["bits"] == 4.5  # 18 bytes for 32 weights
    norms = frame.xs("output_norm.weight", level="tensor")
    assert norms["layer"].isna().all() and (norms["bits"] == 32).all() and (norms["asked"] == "F32").all()


def test_tokens() -> None:
    run = a_run()
    frame = run.tokens("IQ1_S")
    # of 8 tokens the second half is scored but for its first, whose logits would be the first half's
    assert frame.index.names == ["window", "position"]
    assert list(frame.index) == [(window, position) for window in (0, 1) for position in (5, 6, 7)]
    assert frame["kind"].tolist() == ["code", "code", "prose", "prose", "prose", "prose"]
    assert frame["nll"].tolist() == [2.0, 2.0, 5.0, 1.0, 1.0, 4.0]
    assert frame["kl"].tolist() == [0.5, 0.25, 0.75, 0.0, 0.0, 1.5] and frame["p_change"].iloc[0] == -0.5
    assert frame["reference_top_correct"].tolist()[:3] == [True, False, False]
    assert frame["same_top"].tolist()[:3] == [False, True, True] and not frame["top_correct"].any()
    reference = run.tokens("F16")
    assert reference["top_correct"].tolist() == [True] + [False] * 5
    assert reference[["kl", "p_change", "same_top", "reference_top_correct"]].isna().all(axis=None)
    assert reference.dtypes.equals(frame.dtypes), "frames of several recipes go together"


def test_tokens_of_what_is_not_there() -> None:
    with pytest.raises(bench.BenchError, match="IQ1_T: is not in this run; did you mean IQ1_S"):
        a_run().tokens("IQ1_T")
    old = RunFrames(run_of([file_record("IQ1_S", "Standard", 20), window_record("IQ1_S", 0, 10, 1)]))
    with pytest.raises(bench.BenchError, match="no single tokens"):
        old.tokens("IQ1_S")


def test_problems_and_samples() -> None:
    chat = ProblemSetIdentity(name="chat", problem_kind="chat", sha256="0", assistant_only=True, key="c")
    fim = ProblemSetIdentity(name="fim", problem_kind="fim", sha256="0", assistant_only=False, key="f")
    talk = ProblemResult(name="t", group="law", tokens=4, nll=4 * math.log(7), correct=1, kl=2.0, same_top=3)
    gap = ProblemResult(name="g", group="C", tokens=2, nll=2.0, correct=1, completion="abcd ", expected="abce")
    records: list[Record] = [file_record("F16", "Reference", 160), file_record("IQ1_S", "Standard", 20)]
    for identified, result in ((chat, talk), (fim, gap)):
        records.append(
            ProblemRecord(
                run="r", recipe="IQ1_S", sha256="IQ1_S", problem_set=identified, batch=0, batches=1, results=(result,)
            )
        )
    for name, ids in (("F16", (1, 2, 3, 4)), ("IQ1_S", (1, 2, 9, 4))):
        wrote = Completion(tokens=ids, text=f"by {name}", ended=False)
        asked = (("prose", "Once"),)
        records.append(SampleRecord(run="r", recipe=name, sha256=name, prompts=asked, limit=4, completions=(wrote,)))
    run = RunFrames(run_of(records))
    first, second = run.problems.reset_index().to_dict("records")
    assert first["ppl"] == pytest.approx(7) and first["kl"] == 0.5 and first["same_top"] == 0.75
    assert first["scored"] == "assistant" and math.isnan(first["exact"])
    assert second["scored"] == "gap" and second["exact"] == 0 and second["similarity"] == 0.75
    samples = run.samples.reset_index("prompt")
    assert samples.loc["IQ1_S", "same_until"] == 2 and samples.loc["IQ1_S", "agreeing"] == 0.75
    assert pd.isna(samples.loc["F16", "same_until"]) and samples.loc["F16", "completion"] == "by F16"


def test_a_run_without_anything_has_empty_frames() -> None:
    run = RunFrames(run_of([]))
    for name in ("windows", "kinds", "types", "problems", "samples", "propagation"):
        frame, described = getattr(run, name), columns.table(name)
        assert frame.empty and (*frame.index.names, *frame.columns) == (
            *described.index,
            *(n for n in described.names if n not in described.index),
        )
    assert run.paired().empty and run.equal_size().empty and run.equal_size(controls=False).empty
    assert run.failures.empty and run.plots == {}


def test_frames_of_a_published_run_agree_with_its_tables() -> None:
    run = bench.load_run(PUBLISHED)
    files, windows = run.files, run.windows
    assert len(windows) == len(files) * run.run.identity.windows
    for recipe, of_recipe in windows.groupby(level="recipe"):
        assert math.exp(of_recipe["nll"].sum() / of_recipe["tokens"].sum()) == pytest.approx(files.loc[recipe, "ppl"])
        tokens = run.tokens(str(recipe))
        # single tokens are kept as float32, sums as float64
        assert math.exp(tokens["nll"].mean()) == pytest.approx(files.loc[recipe, "ppl"], rel=1e-6)
        if recipe != run.run.reference:
            assert tokens["kl"].mean() == pytest.approx(files.loc[recipe, "kl"])
            assert tokens["same_top"].mean() == pytest.approx(files.loc[recipe, "same_top"])
            flips = tokens["reference_top_correct"] & ~tokens["top_correct"]
            assert flips.sum() == files.loc[recipe, "right_to_wrong"]
    assert bench.load_run(PUBLISHED / FILE_NAME).files.equals(run.files)
    assert repr(run) == "RunFrames(SmolLM2-135M-Instruct, 16 files, 8 windows of 2048 tokens)"


def test_comparing_runs(tmp_path: Path) -> None:
    run = bench.load_run(PUBLISHED)
    table = bench.compare_runs(PUBLISHED, run)
    assert list(table.index) == list(run.files.index) and table["same_scores"].all()
    assert (table[["ppl_change", "bytes_change"]] == 0).all(axis=None)
    with pytest.raises(bench.BenchError, match=r"cannot compare: prompts\.sha256 is"):
        bench.compare_runs(run, RunFrames(run_of([file_record("IQ1_S", "Standard", 20)])))
    with pytest.raises(bench.BenchError, match="no such record file"):
        bench.load_run(tmp_path)


def test_changes_between_runs_are_numbers_with_intervals() -> None:
    def run(ppl: float, seconds: float, cpu: str = "Test CPU") -> RunFrames:
        records: list[Record] = [file_record("F16", "Reference", 1000), file_record("IQ1_S", "Standard", 100)]
        for i in range(6):
            records += [window_record("F16", i, 5 + i, 2), window_record("IQ1_S", i, ppl + i % 2, seconds)]
        return RunFrames(run_of(records, windows=6, cpu=cpu))

    row = bench.compare_runs(run(10, 2), run(11, 3)).loc["IQ1_S"]
    assert row["ppl_change"] == pytest.approx(
        math.sqrt(11 * 12 / (10 * 11)) - 1
    )  # geometric means of 10, 11 and of 11, 12
    assert row["ppl_change_low"] < row["ppl_change"] < row["ppl_change_high"] and not row["same_scores"]
    assert row["time_ratio"] == pytest.approx(1.5)
    elsewhere = bench.compare_runs(run(10, 2), run(11, 3, cpu="Another")).loc["IQ1_S"]
    assert elsewhere["ppl_change"] == row["ppl_change"] and math.isnan(elsewhere["time_ratio"])


def paired_run() -> RunFrames:
    """A standard file, a mixed one and another one, 6 windows each; the mixed one has half the perplexity in all."""
    records: list[Record] = [
        file_record("F16", "Reference", 1000),
        file_record("IQ1_S", "Standard", 100),
        file_record("DG-IQ1_S", "DynamicGate", 110),
        file_record("IQ1_M", "Standard", 120),
    ]
    for i in range(6):
        for name, ppl, seconds in (("F16", 4, 2), ("IQ1_S", 16, 1), ("DG-IQ1_S", 8, 1.5), ("IQ1_M", 12, 1)):
            record = window_record(name, i, ppl + ppl * (i % 3), seconds)
            records.append(record.model_copy(update={"sitting": "noon"}))
    return RunFrames(run_of(records, windows=6))


def test_pairs_are_held_against_each_other_window_by_window() -> None:
    run = paired_run()
    frame = run.paired()
    assert list(frame.index) == ["DG-IQ1_S"] and (*frame.index.names, *frame.columns) == columns.table("paired").names
    row = frame.loc["DG-IQ1_S"]
    assert row["against"] == "IQ1_S" and row["bytes"] == 110 and row["bytes_change"] == pytest.approx(0.1)
    # windows differ by a factor of 3, the difference between the files by nothing
    assert [row[f"ppl_change{end}"] for end in ("", "_low", "_high")] == pytest.approx([-0.5] * 3)
    assert row["time_ratio"] == pytest.approx(1.5) and math.isnan(row["kl_change"]) and row["can_be_told"]


def test_any_recipe_can_be_held_against_any_other() -> None:
    run = paired_run()
    against = run.paired(against="IQ1_M")
    assert list(against.index) == ["IQ1_S", "DG-IQ1_S"] and set(against["against"]) == {"IQ1_M"}
    assert run.paired("IQ1_S", against="F16").loc["IQ1_S", "ppl_change"] == pytest.approx(3)
    assert run.paired(["DG-IQ1_S"]).equals(run.paired())
    with pytest.raises(bench.BenchError, match=r"IQ1_L: is not in this run; did you mean .*IQ1_M"):
        run.paired(against="IQ1_L")
    with pytest.raises(bench.BenchError, match="IQ1_M: has no standard file of its base in this run"):
        run.paired("IQ1_M")


def test_files_of_equal_size_are_those_of_the_published_table() -> None:
    run = bench.load_run(SIZES)
    frame = run.equal_size()
    assert (*frame.index.names, *frame.columns) == columns.table("equal-size").names
    table = equal_size_table(run.run).set_index("Recipe")
    assert set(frame.index) == set(table.index)
    assert [f"{100 * c:+.1f}%" for c in frame["ppl_change"]] == [
        str(table.loc[name, "Δ PPL [95 %]"]).partition(" ")[0] for name in frame.index
    ]
    assert list(run.equal_size(controls=False).index) == list(frame.index[~frame["is_control"]])
    assert all("#" in name for name in frame.index[frame["is_control"]])


def test_error_propagation_is_that_of_the_published_table() -> None:
    run = bench.load_run(PUBLISHED)
    layers = run.identity.model.n_layers
    last = run.propagation["residual"].xs(layers - 1, level="layer").groupby(level="recipe").mean()
    table = propagation_table(run.run).set_index("Recipe")["Last layer [95 %]"]
    assert {name: f"{value:.3f}" for name, value in last.items()} == {n: t.partition(" ")[0] for n, t in table.items()}


def test_no_column_of_numbers_holds_text() -> None:
    run = bench.load_run(PUBLISHED)
    named = {"family", "base", "sha256", "kind", "type", "asked", "against", "sitting"}
    frames = (run.files, run.windows, run.kinds, run.types, run.propagation, run.paired(), run.tokens("IQ1_S"))
    for frame in (*frames, bench.compare_runs(run, run)):
        assert all(pd.api.types.is_numeric_dtype(frame[c]) for c in frame if c not in named)


def test_a_plot_is_a_figure_that_no_window_or_notebook_shows_by_itself(tmp_path: Path) -> None:
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    run, before = bench.load_run(PUBLISHED), pyplot.get_fignums()  # of other tests
    assert {"ppl-size", "kl-size", "error-propagation"} <= run.plots.keys() <= plot_titles().keys()
    figure = run.plot("kl-size")
    assert isinstance(figure, Figure) and pyplot.get_fignums() == before
    figure.savefig(tmp_path / "kl.png")
    assert (tmp_path / "kl.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(bench.BenchError, match="kl-sizes: is no plot; did you mean kl-size"):
        run.plot("kl-sizes")
    with pytest.raises(bench.BenchError, match="error-propagation: this run lacks the figures for it"):
        a_run().plot("error-propagation")


def test_a_notebook_shows_what_was_measured_and_the_files() -> None:
    html = bench.load_run(PUBLISHED)._repr_html_()
    assert "SmolLM2-135M-Instruct" in html and html.count("<tr") == 1 + 16 and "DG-IQ2_XXS" in html
    told = file_record("<b>", "Reference", 160)
    assert "<b>" not in RunFrames(run_of([told]))._repr_html_()


def test_what_a_run_lacks_is_named_with_what_is_near() -> None:
    with pytest.raises(AttributeError, match="a run has no 'file'; did you mean files"):
        a_run().file  # noqa: B018


def test_failures_are_rows() -> None:
    failed = FailureRecord(run="r", recipe="IQ1_S", window=3, reason="crashed")
    frame = RunFrames(run_of([file_record("IQ1_S", "Standard", 20), failed])).failures
    assert frame.loc["IQ1_S", "window"] == 3 and frame.loc["IQ1_S", "reason"] == "crashed"


def test_the_version_is_that_of_records() -> None:
    assert bench.__version__ == this_version().version


def test_running(tiny: Path, text: Path, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    asked: dict[str, Any] = {"model": tiny, "text": text, "window": 256, "windows": 2, "threads": 1, "generate": 0}
    asked |= {"no_imatrix": True, "cache": cache, "out": tmp_path / "run"}
    run = bench.run(["Q4_K_M", "Q8_0"], propagation=True, **asked)
    assert list(run.files.index)[1:] == ["Q4_K_M", "Q8_0"] and run.is_complete and not run.propagation.empty
    assert run.directory == tmp_path / "run" and (tmp_path / "run" / "tables" / "tables.md").is_file()
    assert run.versions["dynamicgate-bench"] == bench.__version__
    assert mpl.get_backend() == "svg", "a notebook's plots are left alone"
    out, err = capfd.readouterr()
    assert out == "" and "Quantizing" in err
    again = bench.run("Q4_K_M,Q8_0", quiet=True, propagation=True, **asked)
    assert again.files.equals(run.files) and len(again.windows) == len(run.windows), "nothing is measured twice"
    assert capfd.readouterr() == ("", "")


def test_a_run_that_is_asked_for_what_cannot_be(tiny: Path, cache: Path) -> None:
    with pytest.raises(bench.BenchError, match="windows=0: must be at least 1"):
        bench.run("Q8_0", model=tiny, windows=0, cache=cache)
    with pytest.raises(bench.BenchError, match="samples=-1: must be at least 0"):
        bench.run("Q8_0", model=tiny, samples=-1, cache=cache)
    with pytest.raises(TypeError, match="no option 'propagate'; did you mean propagation"):
        bench.run("Q8_0", model=tiny, propagate=True, cache=cache)
    with pytest.raises(bench.BenchError, match="Q8_1"):
        bench.run("Q8_1", model=tiny, cache=cache)


def test_resolving_a_recipe(tiny: Path, cache: Path) -> None:
    frame = bench.resolve_recipe("Q4_K_M", tiny, cache=cache)
    assert (*frame.index.names, *frame.columns) == columns.table("recipe").names
    assert frame["layer"].nunique() == 4 and len(frame) == 4 * 9 + 2
    weights = frame["type"]
    assert weights["output_norm.weight"] == "F32" and weights["blk.1.attn_q.weight"] == "Q4_K"
    assert frame.attrs["recipe"] == "Q4_K_M" and frame.attrs["bytes"] < tiny.stat().st_size
    with pytest.raises(bench.BenchError, match="Q4_K_N"):
        bench.resolve_recipe("Q4_K_N", tiny, cache=cache)


def test_what_an_importance_matrix_holds(tmp_path: Path) -> None:
    entries = {
        "blk.0.ffn_up_exps.weight": Entry(np.array([[4, 12], [0, 0]], np.float32), np.array([4, 0], np.float32)),
        "output.weight": Entry(np.ones((1, 2), np.float32), np.ones(1, np.float32)),
    }
    write(ImportanceMatrix(entries, ("a.txt",), 1, 512), tmp_path / "m.gguf")
    frame = bench.imatrix_statistics(tmp_path / "m.gguf")
    assert (*frame.index.names, *frame.columns) == columns.table("importance").names
    experts = frame.loc["blk.0.ffn_up_exps.weight"]
    assert (experts["layer"], experts["mean"], experts["matrices"], experts["unseen"], experts["rows"]) == (
        0,
        2,
        2,
        1,
        0,
    )
    assert frame.attrs == {"datasets": ("a.txt",), "chunks": 1, "chunk_tokens": 512, "prior_weight": 0.0}
    with pytest.raises(bench.BenchError, match="no such importance matrix"):
        bench.imatrix_statistics(tmp_path / "none.gguf")


def test_scoring_a_file(tiny: Path, text: Path, cache: Path) -> None:
    score = bench.score(tiny, text=text, window=256, threads=1, cache=cache, quiet=True)
    assert isinstance(score, bench.Score) and score.file == tiny
    assert len(score.windows) == 2 and score.tokens == score.windows["tokens"].sum() == 2 * 127
    assert score.ppl == pytest.approx(math.exp(score.windows["nll"].sum() / score.tokens))
    assert score.ppl_low is None and score.generation_tokens_per_second is None, "two windows, nothing generated"
    assert score.prompt_tokens_per_second == pytest.approx(256 / score.window_seconds)
    assert score.settings == identity(threads=1).settings.model_copy(
        update={"window": 256, "batch": 256, "ubatch": 256, "generate": 0}
    )
    assert score.change(score).value == 0
    assert repr(score) == f"Score({tiny.name}, ppl={score.ppl:.4f}, 2 windows of 256 tokens)"
    other = bench.score(tiny, text=text, window=256, windows=1, threads=1, cache=cache, quiet=True)
    assert isinstance(score.change(other), bench.Estimate)
    with pytest.raises(bench.BenchError, match="context of 512"):
        bench.score(str(tiny), text=text, cache=cache)
