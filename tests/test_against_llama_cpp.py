"""Agreement with llama.cpp's own tools, of the version that pyproject.toml pins, by values they printed for the tiny model.

Built from the source of llama-cpp-python 0.3.36 with AVX2 and run on the files that tests/tiny.py writes:

    llama-perplexity -m tiny.gguf -f words.txt -c 128 -b 128 -t 1
    llama-perplexity -m tiny.gguf -f words.txt -c 128 -b 128 -t 1 --kl-divergence-base base.kld
    llama-perplexity -m q4_0.gguf -f words.txt -c 128 -b 128 -t 1 --kl-divergence-base base.kld --kl-divergence
    llama-imatrix    -m tiny.gguf -f calibration.txt -c 512 -b 512 -t 1 --no-ppl -o imatrix.gguf
    llama-quantize   --imatrix imatrix.gguf tiny.gguf iq2_xxs.gguf IQ2_XXS 1
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.core.files import file_sha256
from bench.engine.llama import Model
from bench.gguf_files.header import read_header
from bench.quantize.build import build
from bench.quantize.collect import collect
from bench.quantize.jobs import QuantizeJob
from bench.recipes.recipe import find_recipe
from tests.conftest import Outcome
from tests.support.held import Held, quiet

PRINTED = (Path(__file__).parent / "data" / "llama-perplexity-kl.txt").read_text(encoding="utf-8").splitlines()

TINY_SHA256 = "d6357a2836a8deaac8f0f5d1e3b1f955d497db2dd1121a849e9671aa871f1538"
PERPLEXITY = {"tiny": (901.0240, 71.07334), "q4_0": (1068.7832, 96.43960)}
IQ2_XXS_TENSORS_SHA256 = "67885501cce374697577d474e27bb0ebf4c613c4fc252feeafe294d013585502"
#: Tensor: (first four sums of squared activations, sum of all columns), over 1024 rows.
IMATRIX = {
    "blk.0.attn_q.weight": ([3041.88671875, 3817.268310546875, 2791.2822265625, 1139.54150390625], 299571.8125),
    "blk.3.ffn_down.weight": ([1387.3251953125, 657.5802612304688, 324.90850830078125, 2908.639404296875], 951727.0),
}


@pytest.fixture(autouse=True)
def _same_files(tiny: Path) -> None:
    assert file_sha256(tiny) == TINY_SHA256, (
        "the tiny model has changed: run the commands above again and store what they print"
    )


def numbers(line: str) -> list[float]:
    """The value and, where there is one, its error."""
    return [float(x) for x in re.findall(r"-?\d+\.\d+", line.split(":", 1)[1])]


def test_perplexity_and_kl_statistics(
    bench: Callable[..., Outcome], tiny: Path, text: Path, tmp_path: Path, cache: Path
) -> None:
    out = tmp_path / "run"
    done = bench(
        "run",
        "--model",
        tiny,
        "--text",
        text,
        "--recipes",
        "Q4_0",
        "--no-imatrix",
        "--window",
        128,
        "--windows",
        5,
        "--threads",
        1,
        "--generate",
        0,
        "--out",
        out,
        "--cache",
        cache,
        "--json",
    )
    assert done.code == 0, done.err
    reference, recipe = json.loads(done.out)["files"]
    for found, (ppl, se) in zip((reference, recipe), PERPLEXITY.values(), strict=True):
        assert found["ppl"] == pytest.approx(ppl, rel=1e-6)
        assert found["ppl_se"] == pytest.approx(se, rel=1e-5)

    ours = (out / "tables" / "kl-divergence.txt").read_text(encoding="utf-8").splitlines()
    by_name = {line.split(":", 1)[0].strip(): line for line in ours if ":" in line}
    for line in PRINTED:
        name = line.split(":", 1)[0].strip()
        assert name in by_name, f"{name} is not printed"
        # the tool keeps the reference's log-probabilities in 16 bits; that is worth 5e-4 nats here
        tolerance = {"rel": 2e-4, "abs": 1e-3}
        assert numbers(by_name[name]) == pytest.approx(numbers(line), **tolerance), name


def test_importance_matrix(tiny: Path, calibration: Path) -> None:
    with Model(tiny, vocab_only=True) as model:
        tokens = model.tokenize(calibration.read_text(encoding="utf-8"))
    entries = collect(tiny, tokens, threads=1, progress=lambda share: None)
    assert len(entries) == 28
    for name, (first, total) in IMATRIX.items():
        assert entries[name].counts.tolist() == [1024]
        np.testing.assert_allclose(entries[name].sums[0, :4], first, rtol=1e-4)
        assert entries[name].sums.sum() == pytest.approx(total, rel=1e-5)


def test_standard_quantization_writes_the_same_tensors(tiny: Path, tmp_path: Path) -> None:
    # the very importance data that the tool was given, so that the bytes can be compared
    stored = Path(__file__).parent / "data" / "llama-imatrix-tiny.gguf"
    out = tmp_path / "q.gguf"
    held = Held(tmp_path)
    recipe = find_recipe("IQ2_XXS")
    job = QuantizeJob(model=held(tiny), recipe=recipe, importance=held(stored), threads=2, out=held(out), origin="o")
    build(job, held.site, quiet)
    raw, digest = out.read_bytes(), hashlib.sha256()
    for t in sorted(read_header(out).tensors, key=lambda t: t.name):
        digest.update(f"{t.name} {t.type.name} ".encode() + raw[t.start : t.start + t.n_bytes])
    assert digest.hexdigest() == IQ2_XXS_TENSORS_SHA256
