"""Speed at depth: contexts that deepen hold what they should, and what `time --depths` tells."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.engine.context import Context
from bench.engine.graph import pausing_callback
from bench.engine.llama import Model
from bench.engine.settings import PLAIN, Cache
from bench.measures.windows import throughput
from bench.measures.windows.walk import Walk
from tests.conftest import Outcome

Q8 = Cache(k="q8_0", v="q8_0")


@pytest.mark.parametrize("cache", [PLAIN, Q8])
@pytest.mark.parametrize("pausing", [False, True])
def test_a_context_at_a_depth_holds_just_these_tokens(tiny: Path, cache: Cache, pausing: bool) -> None:
    """Deeper, less deep and empty again: the next token's logits are those of a context that was filled for it alone."""
    tokens = (np.arange(80, dtype=np.int32) * 7) % 250 + 3
    cut: list[int] = []
    callback = pausing_callback(lambda: cut.append(1), 8) if pausing else None
    with Model(tiny) as model, Walk(model, cache, tokens, batch=32, ubatch=32, threads=1, callback=callback) as walk:
        for depth in (32, 64, 32, 0):
            context = walk.at(depth, pausing=pausing)
            assert context.n_past == depth
            context.prepare(tokens[depth : depth + 8], 7)
            context.decode()
            found = context.logits().copy()
            with Context(model, n_ctx=80, n_batch=32, n_ubatch=32, threads=1, cache=cache) as fresh:
                for start in range(0, depth, 32):
                    fresh.prepare(tokens[start : min(start + 32, depth)], 31)
                    fresh.decode()
                fresh.prepare(tokens[depth : depth + 8], 7)
                fresh.decode()
                assert (found == fresh.logits()).all()
    assert bool(cut) == pausing


def test_tests_go_from_depth_to_depth_and_each_has_its_f16_before_it() -> None:
    found = throughput.tests_of("512", "32", "2048,0", "q8_0,q8_0/q4_0")
    assert [t.name for t in found] == [
        "pp512", "tg32", "pp512 q8_0", "tg32 q8_0", "pp512 q8_0/q4_0", "tg32 q8_0/q4_0",
        "pp512 @ d2048", "tg32 @ d2048", "pp512 @ d2048 q8_0", "tg32 @ d2048 q8_0", "pp512 @ d2048 q8_0/q4_0", "tg32 @ d2048 q8_0/q4_0",
    ]  # fmt: skip
    assert found[3].plain == found[1] and not found[0].is_deep and found[2].is_deep and found[6].is_deep
    with pytest.raises(BenchError, match="--depths 1k: '1k' is no number of tokens"):
        throughput.tests_of("512", "0", "1k")
    with pytest.raises(BenchError, match=r"--cache-types q7: llama\.cpp has no cache type 'q7'"):
        throughput.tests_of("512", "0", "0", "q7")


def test_rows_have_llama_bench_names_and_the_ratio_is_of_f16(
    bench: Callable[..., Outcome], tiny: Path, tmp_path: Path
) -> None:
    outcome = bench(
        "time", tiny, "-p", 16, "-n", 4, "--depths", "0,64", "--cache-types", "q8_0", "--rounds", 2, "--threads", 1, "--cache", tmp_path,
        "-o", "json", "--plot", tmp_path / "depths.png",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)
    assert [(r["n_prompt"], r["n_gen"], r["n_depth"], r["type_k"]) for r in rows] == [
        (16, 0, 0, "f16"), (0, 4, 0, "f16"), (16, 0, 0, "q8_0"), (0, 4, 0, "q8_0"),
        (16, 0, 64, "f16"), (0, 4, 64, "f16"), (16, 0, 64, "q8_0"), (0, 4, 64, "q8_0"),
    ]  # fmt: skip
    assert [r["time_ratio"] is None for r in rows] == [True, True, False, False] * 2
    assert all(len(r["samples_ns"]) == 2 for r in rows)
    assert (tmp_path / "depths.png").stat().st_size > 1000 and (tmp_path / "depths.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-d", "500", "-p", "16"], "--prompt 16 behind --depths 500: tiny was trained for a context of 512 tokens"),
        (["--plot", "speeds.png"], "--plot shows speed over depth; give --depths at least two"),
        (["-d", "0,64", "--plot", "speeds.pdf"], "--plot speeds.pdf: give a file that ends in .png or .svg"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_timed(
    bench: Callable[..., Outcome], tiny: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    outcome = bench("time", tiny, "-n", 4, "--threads", 1, "--cache", tmp_path, *arguments)
    assert outcome.code == 2 and said in outcome.err and "Traceback" not in outcome.err
