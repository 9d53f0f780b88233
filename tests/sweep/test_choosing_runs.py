"""Recipes that leave a choice, in a sweep and from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.measures.registry import load_run
from bench.measures.windows.runs import windows_of
from tests.conftest import Outcome
from tests.support.tiny import write_text


@pytest.fixture
def arguments(tiny: Path, text: Path, calibration: Path, cache: Path) -> list[object]:
    return ["--model", tiny, "--calibration", calibration, "--cache", cache]


def test_choices_in_a_sweep(
    bench: Callable[..., Outcome],
    arguments: list[object],
    text: Path,
    free_choice: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that cannot be made costs its recipe only; a finished run chooses nothing."""
    monkeypatch.setattr("bench.choose.chooser._REFINEMENTS", 2)
    asked = ["IQ3_XXS", "DG-IQ3_XXS@+20%", *(f"{free_choice}{size}" for size in ("@IQ3_XXS", "@IQ3_XXS#1", "@1bpw"))]
    names = ["IQ3_XXS", "DG-IQ3_XXS@+20%", "FREE@IQ3_XXS", "FREE@IQ3_XXS#1", "FREE@1bpw"]
    sweep = ["run", *arguments, "--text", text, "--window", 64, "--windows", 2, "--generate", 0, "--out", tmp_path / "run", "--recipes"]  # fmt: skip
    done = bench(*sweep, ",".join(asked), "--json")
    assert done.code == 1 and "FREE@1bpw was not built: FREE@1bpw: " in done.err
    run = load_run(tmp_path / "run")
    assert list(run.files) == ["F16", *names[:-1]]
    assert all(len(windows_of(run).results(name)) == 2 for name in run.files)
    standard, gated, auto, control = (run.files[n] for n in names[:-1])
    assert max(auto.n_bytes, control.n_bytes) <= standard.n_bytes < gated.n_bytes <= 1.2 * standard.n_bytes
    assert (auto.family, control.family) == ("Own, IQ3_XXS", "Own, IQ3_XXS, random")
    assert auto.choice and control.choice
    assert (auto.choice.against, control.choice.against) == ("IQ3_XXS", "FREE@IQ3_XXS")
    assert control.choice.tried >= 2, "the control is searched for like the choice"
    said = json.loads(done.out)
    assert any("with chosen types" in n for n in said["notes"])
    tables = (tmp_path / "run" / "tables" / "tables.md").read_text()
    assert "## At equal size" in tables and "| FREE@IQ3_XXS " in tables

    monkeypatch.setattr("bench.choose.chooser.Chooser.choose", None)
    again = bench(*sweep, ",".join(asked[:-1]))
    assert again.code == 0, again.err


def test_a_recipe_is_not_chosen_on_the_text_it_is_judged_by(
    bench: Callable[..., Outcome], tiny: Path, calibration: Path, cache: Path
) -> None:
    same = [
        "run",
        "--model",
        tiny,
        "--cache",
        cache,
        "--text",
        calibration,
        "--calibration",
        calibration,
        "--window",
        64,
    ]
    refused = bench(*same, "--recipes", "Q8_0,auto@3bpw")
    assert refused.code == 2 and "auto@3bpw would be chosen on what it is judged by" in refused.err


def test_sensitivity_is_shown_as_table_and_map(
    bench: Callable[..., Outcome], arguments: list[object], tmp_path: Path
) -> None:
    done = bench("sensitivity", *arguments, "--out", tmp_path, "--types", "iq2_xxs,q4_k", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    rows = told["tensors"]
    assert {r["measured_in"] for r in rows} == {"IQ2_XXS", "Q4_K"}
    assert sum(r["measured_in"] == "IQ2_XXS" for r in rows) == 4 * 7 + 1
    whole = [r for r in told["additivity"] if r["group"] == "all"]
    assert [r["measured_in"] for r in whole] == ["IQ2_XXS", "Q4_K"]
    for row in whole:
        singles = sum(r["kl"] for r in rows if r["measured_in"] == row["measured_in"])
        assert row["sum_kl"] == pytest.approx(singles, rel=1e-4)
        assert row["ratio"] == pytest.approx(row["joint_kl"] / singles, rel=1e-4)
    assert (tmp_path / "additivity.csv").is_file()
    assert (tmp_path / "sensitivity.png").stat().st_size > 10_000
    text = (tmp_path / "sensitivity.md").read_text()
    assert "| IQ2_XXS" in text and "attention-v" in text and "Rank correlation" in text
    wrong = bench("sensitivity", *arguments, "--types", "Q4_K_M")
    assert wrong.code == 2 and "llama.cpp has no type Q4_K_M; did you mean" in wrong.err


def test_a_recipe_that_is_chosen_is_shown_and_built_alike(
    bench: Callable[..., Outcome], arguments: list[object], free_choice: Path, tmp_path: Path
) -> None:
    shown = json.loads(bench("recipe", "show", free_choice, *arguments, "--json").out)
    built = bench("quantize", free_choice, tmp_path / "a.gguf", *arguments)
    assert built.code == 0, built.err
    assert (tmp_path / "a.gguf").stat().st_size == shown["bytes"]


def test_a_calibration_text_that_is_too_short_costs_only_what_is_chosen(
    bench: Callable[..., Outcome], tiny: Path, text: Path, cache: Path, tmp_path: Path
) -> None:
    short = write_text(tmp_path / "short.txt", 300, seed=3)
    done = bench("run", "--model", tiny, "--cache", cache, "--text", text, "--calibration", short, "--window", 64,
                 "--windows", 1, "--generate", 0, "--out", tmp_path / "run", "--recipes", "Q4_0,auto@3bpw", "--no-imatrix")  # fmt: skip
    assert done.code == 1 and "give a longer --calibration text" in done.err
    assert len(windows_of(load_run(tmp_path / "run")).results("Q4_0")) == 1
