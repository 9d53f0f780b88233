"""The residual stream of many architectures: what is found goes into the output norm, and its parts are where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.engine.context import Context
from bench.engine.graph import tensor_callback
from bench.engine.llama import Model
from bench.engine.residual import ResidualStream
from tests.support import architectures, own_arithmetic
from tests.support.own_arithmetic import LAYERS, WIDTH

Write = Callable[[Path], Path]
WRITERS = [architectures.refact, architectures.starcoder, architectures.mixture, *own_arithmetic.ALL]
N_TOKENS = 48


def evaluate(path: Path, callback: Callable[[int, bool, int | None], bool]) -> None:
    tokens = (np.arange(N_TOKENS, dtype=np.int32) * 7) % 250 + 3
    with (
        Model(path) as model,
        Context(model, n_ctx=64, n_batch=64, n_ubatch=64, threads=1, callback=callback) as context,
    ):
        context.prepare(tokens, 0)
        context.decode()


def stream_of(path: Path) -> dict[int, tuple[NDArray[np.float32] | None, NDArray[np.float32]]]:
    found: dict[int, tuple[NDArray[np.float32] | None, NDArray[np.float32]]] = {}

    def observe(layer: int, middle: NDArray[np.float32] | None, state: NDArray[np.float32]) -> None:
        found[layer] = middle, state

    evaluate(path, ResidualStream(observe))
    return found


def normed(path: Path, state: NDArray[np.float32]) -> NDArray[np.float64]:
    """The model's output norm of a state: of means where it has a bias, else of squares."""
    weights = {t.name: np.array(t.data, np.float64) for t in gguf.GGUFReader(path).tensors if "output_norm" in t.name}
    x, bias = state.astype(np.float64), weights.get("output_norm.bias")
    x = x if bias is None else x - x.mean(axis=1, keepdims=True)
    x = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5) * weights["output_norm.weight"]
    return x if bias is None else x + bias


@pytest.mark.parametrize("write", WRITERS)
def test_the_state_of_the_last_layer_goes_into_the_output_norm(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / f"{write.__name__}.gguf")
    found = stream_of(path)
    assert sorted(found) == [-1, *range(LAYERS)]
    assert {state.shape for _, state in found.values()} == {(N_TOKENS, WIDTH)}
    results: list[NDArray[np.float32]] = []
    evaluate(path, tensor_callback(lambda _, values: results.append(values.copy()), lambda name: name == "result_norm"))
    [result] = results
    np.testing.assert_allclose(normed(path, found[LAYERS - 1][1]), result, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("write", WRITERS)
def test_the_middle_lies_between_attention_and_network(write: Write, tmp_path: Path) -> None:
    """Where the network of a layer adds nothing, the layer ends with its middle; where its attention does not, it begins with it."""
    path = write(tmp_path / f"{write.__name__}.gguf")
    if write is own_arithmetic.mamba:
        assert all(middle is None for middle, _ in stream_of(path).values())
        return

    def silence(words: tuple[str, ...]) -> None:
        for tensor in gguf.GGUFReader(path, "r+").tensors:
            if tensor.name.startswith("blk.2.") and any(w in tensor.name for w in words):
                tensor.data[:] = 0

    silence(("ffn_down", "channel_mix_value", "post_ffw_norm"))
    found = stream_of(path)
    middle, state = found[2]
    assert middle is not None
    np.testing.assert_allclose(middle, state, rtol=1e-6, atol=1e-6)
    silence(("attn_output", "time_mix_output", "post_attention_norm"))
    found = stream_of(path)
    middle, _ = found[2]
    assert middle is not None
    np.testing.assert_allclose(middle, found[1][1], rtol=1e-6, atol=1e-6)
