"""The package as a library."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bench
from bench.api import RunFrames
from bench.measures.problems.jobs import ProblemResult
from bench.measures.problems.records import ProblemRecord, ProblemSetIdentity
from bench.measures.samples.jobs import Completion
from bench.measures.samples.records import SampleRecord
from bench.measures.windows.jobs import REFERENCE_TOP_IS_CORRECT, SAME_TOP, TOP_IS_CORRECT, KindSums, TokenData, pack
from bench.present import columns
from bench.records.run import FILE_NAME, Record
from tests.support.records import file_record, identity, run_of, window_record

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "results" / "smollm2-135m-instruct"


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = "import bench, sys; dir(bench); print([m for m in ('pandas', 'numpy', 'pydantic', 'bench.api') if m in sys.modules])"
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
    frame = a_run().windows.set_index(["recipe", "window"])
    assert list(frame.index) == [("F16", 0), ("F16", 1), ("IQ1_S", 0), ("IQ1_S", 1), ("IQ1_M", 1)]
    row = frame.loc["IQ1_S", 0]
    assert row["tokens"] == 3 and row["nll"] == 9.0
    assert row["ppl"] == pytest.approx(math.exp(3.0)) and row["kl"] == pytest.approx(0.5)
    assert row["seconds"] == 2.0 and row["sitting"] == "noon" and row["family"] == "Standard"
    assert frame["kl"].isna().tolist() == [True, True, False, False, False]
    assert frame["disturbed"].tolist() == [False, False, False, False, True]


def test_kinds_are_of_files_with_all_their_windows() -> None:
    frame = a_run().kinds.set_index(["recipe", "kind"])
    assert list(frame.index) == [("F16", "code"), ("F16", "prose"), ("IQ1_S", "code"), ("IQ1_S", "prose")]
    assert frame.loc[("IQ1_S", "prose"), "tokens"] == 4
    assert frame.loc[("IQ1_S", "prose"), "ppl"] == pytest.approx(math.exp(11 / 4))
    assert frame.loc[("IQ1_S", "prose"), "kl"] == pytest.approx((0.75 + 1.5) / 4)
    assert frame.loc[("IQ1_S", "code"), "kl"] == pytest.approx(0.375)
    assert frame.loc["F16", "kl"].isna().all()


def test_types() -> None:
    frame = a_run().types
    row = frame[frame["recipe"] == "IQ1_S"].set_index("tensor").loc["blk.1.attn_v.weight"]
    assert (row["layer"], row["kind"], row["type"], row["asked"]) == (1, "attention-v", "IQ4_NL", "IQ1_S")
    assert row["bits"] == 4.5  # 18 bytes for 32 weights
    norms = frame[frame["tensor"] == "output_norm.weight"]
    assert norms["layer"].isna().all() and (norms["bits"] == 32).all() and (norms["asked"] == "F32").all()


def test_tokens() -> None:
    run = a_run()
    frame = run.tokens("IQ1_S")
    # of 8 tokens the second half is scored but for its first, whose logits would be the first half's
    assert frame["position"].tolist() == [5, 6, 7] * 2 and frame["window"].tolist() == [0] * 3 + [1] * 3
    assert frame["kind"].tolist() == ["code", "code", "prose", "prose", "prose", "prose"]
    assert frame["nll"].tolist() == [2.0, 2.0, 5.0, 1.0, 1.0, 4.0]
    assert frame["kl"].tolist() == [0.5, 0.25, 0.75, 0.0, 0.0, 1.5] and frame["p_change"][0] == -0.5
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
    first, second = run.problems.to_dict("records")
    assert first["ppl"] == pytest.approx(7) and first["kl"] == 0.5 and first["same_top"] == 0.75
    assert first["scored"] == "assistant" and math.isnan(first["exact"])
    assert second["scored"] == "gap" and second["exact"] == 0 and second["similarity"] == 0.75
    samples = run.samples.set_index("recipe")
    assert samples.loc["IQ1_S", "same_until"] == 2 and samples.loc["IQ1_S", "agreeing"] == 0.75
    assert pd.isna(samples.loc["F16", "same_until"]) and samples.loc["F16", "completion"] == "by F16"


def test_a_run_without_anything_has_empty_frames() -> None:
    run = RunFrames(run_of([]))
    for name in ("windows", "kinds", "types", "problems", "samples"):
        frame = getattr(run, name)
        assert frame.empty and tuple(frame.columns) == columns.table(name).names


def test_frames_of_a_published_run_agree_with_its_tables() -> None:
    run = bench.load_run(PUBLISHED)
    files, windows = run.files.set_index("recipe"), run.windows
    assert len(windows) == len(files) * run.run.identity.windows
    for recipe, of_recipe in windows.groupby("recipe"):
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
    assert list(table["Recipe"]) == list(run.files["recipe"]) and (table["Δ Size"] == "+0.0%").all()
    with pytest.raises(bench.BenchError, match=r"cannot compare: model\.name is"):
        bench.compare_runs(run, RunFrames(run_of([file_record("IQ1_S", "Standard", 20)])))
    with pytest.raises(bench.BenchError, match="no such record file"):
        bench.load_run(tmp_path)


def test_resolving_a_recipe(tiny: Path, cache: Path) -> None:
    frame = bench.resolve_recipe("Q4_K_M", tiny, cache=cache)
    assert tuple(frame.columns) == columns.table("recipe").names
    assert frame["layer"].nunique() == 4 and len(frame) == 4 * 9 + 2
    weights = frame.set_index("tensor")["type"]
    assert weights["output_norm.weight"] == "F32" and weights["blk.1.attn_q.weight"] == "Q4_K"
    assert frame.attrs["recipe"] == "Q4_K_M" and frame.attrs["bytes"] < tiny.stat().st_size
    with pytest.raises(bench.BenchError, match="Q4_K_N"):
        bench.resolve_recipe("Q4_K_N", tiny, cache=cache)


def test_scoring_a_file(tiny: Path, text: Path, cache: Path) -> None:
    scored = bench.score(tiny, text=text, window=256, threads=1, cache=cache)
    said = scored.perplexity_json()
    assert isinstance(scored, bench.Scored) and len(scored.windows) == 2 and said["tokens"] == 2 * 127
    assert scored.settings == identity(threads=1).settings.model_copy(
        update={"window": 256, "batch": 256, "ubatch": 256, "generate": 0}
    )
    with pytest.raises(bench.BenchError, match="context of 512"):
        bench.score(str(tiny), text=text, cache=cache)
