"""Agreement with llama.cpp's tools on architectures with arithmetic of their own, by what the tools made of the same tiny models.

What they made is in tests/data/agreement; tests/support/store_agreement.py has the commands and makes it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from bench.core.files import file_sha256
from bench.engine.llama import Model
from bench.quantize import imatrix_file
from bench.quantize.build import build
from bench.quantize.collect import collect
from bench.quantize.imatrix import ImportanceMatrix
from bench.quantize.jobs import QuantizeJob
from bench.recipes.recipe import find_recipe
from tests.conftest import Outcome
from tests.support import own_arithmetic
from tests.support.held import Held, quiet
from tests.support.store_agreement import STORED, TYPE, WINDOW, tensors_sha256

Write = Callable[[Path], Path]


@pytest.fixture(params=own_arithmetic.ALL, ids=lambda write: write.__name__)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path: Path = request.param(tmp_path / f"{request.param.__name__}.gguf")
    assert file_sha256(path) == stored(path)["model_sha256"], (
        "the model has changed: run tests/support/store_agreement.py again"
    )
    return path


def stored(model: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((STORED / f"{model.stem}.json").read_text(encoding="utf-8"))
    return found


def tool_imatrix(model: Path) -> Path:
    return STORED / f"{model.stem}-imatrix.gguf"


def test_perplexity_and_kl_divergence(
    bench: Callable[..., Outcome], model: Path, text: Path, tmp_path: Path, cache: Path
) -> None:
    done = bench("run", "--model", model, "--text", text, "--recipes", TYPE, "--imatrix", tool_imatrix(model),
                 "--window", WINDOW, "--windows", 5, "--threads", 1, "--generate", 0, "--out", tmp_path / "run",
                 "--cache", cache, "--json")  # fmt: skip
    assert done.code == 0, done.err
    reference, recipe = json.loads(done.out)["files"]
    ppl, se = stored(model)["perplexity"]
    assert reference["ppl"] == pytest.approx(ppl, rel=1e-5)
    assert reference["ppl_se"] == pytest.approx(se, rel=1e-4)
    # the tool keeps the reference's log-probabilities in 16 bits; that is worth 5e-4 nats here
    assert recipe["kl"] == pytest.approx(stored(model)["mean_kl"], rel=1e-3, abs=1e-3)


def test_importance_matrix(model: Path, calibration: Path, tmp_path: Path) -> None:
    with Model(model, vocab_only=True) as vocabulary:
        tokens = vocabulary.tokenize(calibration.read_text(encoding="utf-8"))
    entries = collect(model, tokens, threads=1, progress=quiet)
    imatrix_file.write(ImportanceMatrix(entries, ("calibration.txt",), 2, 512), tmp_path / "ours.gguf")
    ours, theirs = (
        {t.name: np.atleast_2d(t.data) for t in gguf.GGUFReader(p).tensors}
        for p in (tmp_path / "ours.gguf", tool_imatrix(model))
    )
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        assert ours[name].shape == values.shape, name  # rows and columns; a file does not tell one row from none
        if name.endswith(".counts"):
            np.testing.assert_array_equal(ours[name], values, err_msg=name)
        else:
            np.testing.assert_allclose(ours[name], values, rtol=1e-3, atol=1e-3 * values.mean(), err_msg=name)


def test_quantized_tensors_are_the_same_bytes(model: Path, tmp_path: Path) -> None:
    out, held = tmp_path / "q.gguf", Held(tmp_path)
    job = QuantizeJob(model=held(model), recipe=find_recipe(TYPE), importance=held(tool_imatrix(model)), threads=2,
                      out=held(out), origin="o")  # fmt: skip
    build(job, held.site, quiet)
    assert tensors_sha256(out) == stored(model)["tensors"]
