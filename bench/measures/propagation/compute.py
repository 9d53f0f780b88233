"""Error propagation: how far a recipe's hidden states are from the reference's, layer by layer, on the same tokens.

With h(l, t) the residual stream after layer l at token t (llama.cpp's `l_out-l`) and m(l, t) the same after the layer's
attention only (`ffn_inp-l`), the relative error of a state is the mean over tokens of |h - h_ref| / |h_ref|, Euclidean
norms over the width. The parts are what attention and feed-forward network add: m(l) - h(l - 1) and h(l) - m(l). A mean of
ratios, so that no token counts for more than another; the first token is left out: its state is a sink, hundreds of times
as large as the others, and says nothing about them.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError, MeasurementError
from bench.engine.graph import tensor_callback
from bench.engine.llama import Context, Model
from bench.execute.content import Site
from bench.execute.job import Share
from bench.measures.propagation.jobs import PropagationJob, PropagationResult
from bench.texts.stream import TokenStream

_STATE = re.compile(r"^(ffn_inp|l_out)-(\d+)$")
_EMBEDDING = ("embd", "inp_embd")


def _index(name: str) -> int | None:
    """Place of a state on its way through the model: 0 the embeddings, 2 l + 1 and 2 l + 2 those of layer l."""
    if name in _EMBEDDING:
        return 0
    found = _STATE.match(name)
    return None if found is None else 2 * int(found[2]) + (1 if found[1] == "ffn_inp" else 2)


def relative_error(states: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Mean over tokens, without the first, of |states - reference| / |reference|. Both (tokens, width)."""
    difference = np.linalg.norm((states - reference)[1:].astype(np.float64), axis=1)
    scale = np.linalg.norm(reference[1:].astype(np.float64), axis=1)
    return float((difference / np.maximum(scale, 1e-30)).mean())


def propagate(job: PropagationJob, site: Site, progress: Share) -> PropagationResult:
    """Write the reference's states to `job.states`, or compare with those that are there.

    Raises BenchError for an architecture whose graph does not name its states, MeasurementError for states that are not
    finite.
    """
    stream, length = TokenStream.load(site.path(job.stream)), job.tokens
    path, at = site.path(job.model), site.path(job.states)
    tokens = stream.window(job.window, job.settings.window)[:length]
    previous: dict[str, NDArray[np.float32]] = {}
    states: dict[int, float] = {}
    parts: dict[int, float] = {}
    seen: set[int] = set()
    stored: NDArray[np.float32] | None = None if job.write else np.load(at, mmap_mode="r")

    def observe(name: str, values: NDArray[np.float32]) -> None:
        nonlocal stored
        index = _index(name)
        if index is None or values.shape[0] != length:
            return
        if stored is None:
            shape = (2 * model.n_layers + 1, *values.shape)
            stored = np.lib.format.open_memmap(at, mode="w+", dtype=np.float32, shape=shape)
        seen.add(index)
        if job.write:
            stored[index] = values
            return
        own, reference = values.copy(), np.asarray(stored[index])
        states[index] = relative_error(own, reference)
        if previous:
            parts[index] = relative_error(own - previous["own"], reference - previous["reference"])
        previous.update(own=own, reference=reference)

    callback = tensor_callback(observe, lambda name: _index(name) is not None)
    with (
        Model(path) as model,
        Context(
            model, n_ctx=length, n_batch=length, n_ubatch=length, threads=job.settings.threads, callback=callback
        ) as context,
    ):
        # Logits for every token: llama.cpp computes the last layer only for tokens whose logits are wanted.
        context.prepare(tokens, 0)
        context.decode()
        n_layers = model.n_layers
    if not set(range(1, 2 * n_layers + 1)) <= seen:
        raise BenchError(
            f"{path.name}: llama.cpp does not name the hidden states of this architecture (l_out, ffn_inp), so their error "
            "cannot be measured; leave --propagation out"
        )
    if job.write:
        return PropagationResult(window=job.window, residual=(), attention=(), feed_forward=())
    if not np.isfinite(list(states.values())).all():
        raise MeasurementError("the hidden states hold NaN or Inf")
    layers = range(n_layers)
    return PropagationResult(
        window=job.window,
        residual=tuple(states[2 * i + 2] for i in layers),
        attention=tuple(parts.get(2 * i + 1) for i in layers),
        feed_forward=tuple(parts.get(2 * i + 2) for i in layers),
    )
