"""The whole chain on architectures other than llama: importance matrix, recipes, choices, scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.measures.registry import load_run
from bench.measures.windows.runs import windows_of
from tests.conftest import Outcome
from tests.support import architectures

RECIPES = ("IQ3_XXS", "DG-FULL-IQ3_XXS", "FREE@IQ3_XXS")


@pytest.mark.parametrize("write", [architectures.refact, architectures.starcoder, architectures.mixture])
def test_the_whole_chain(
    write: Callable[[Path], Path],
    bench: Callable[..., Outcome],
    text: Path,
    calibration: Path,
    free_choice: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.choose.chooser._REFINEMENTS", 2)
    asked = [*RECIPES[:2], f"{free_choice}@IQ3_XXS"]
    model = write(tmp_path / f"{write.__name__}.gguf")
    done = bench("run", "--model", model, "--text", text, "--calibration", calibration, "--cache", tmp_path / "cache",
                 "--recipes", ",".join(asked), "--window", 64, "--windows", 2, "--generate", 2, "--out", tmp_path / "run", "--json")  # fmt: skip
    assert done.code == 0, done.err
    run = load_run(tmp_path / "run")
    assert run.files.keys() == {"F16", *RECIPES}
    assert all(len(windows_of(run).results(name)) == 2 for name in run.files)
    standard, full, free = (run.files[name] for name in RECIPES)
    assert free.n_bytes <= standard.n_bytes < full.n_bytes
    changed = {n for n, t in full.types.items() if t != standard.types[n]}
    assert {n.split(".")[1] for n in changed if n.startswith("blk.")} == {"0", "3"}
    assert full.types["blk.0.attn_output.weight"] == "IQ4_XS"
    kl = {f["recipe"]: f["kl"] for f in json.loads(done.out)["files"] if f.get("kl") is not None}
    assert kl["DG-FULL-IQ3_XXS"] < kl["IQ3_XXS"]
