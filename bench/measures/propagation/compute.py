"""Error propagation: how far a recipe's hidden states are from the reference's, layer by layer, on the same tokens.

With h(l, t) the residual stream after layer l at token t and m(l, t) the same after the layer's attention only, as
engine/residual.py finds them, the relative error of a state is the mean over tokens of |h - h_ref| / |h_ref|, Euclidean
norms over the width. The parts are the additions of attention and feed-forward network: m(l) - h(l - 1) and h(l) - m(l); a
layer without an m has no parts. The error is a mean of ratios, so that no token counts for more than another. The first token
is left out: its state is a sink, hundreds of times as large as the others, and says nothing about them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError, MeasurementError
from bench.engine.context import Context
from bench.engine.llama import Model
from bench.engine.residual import ResidualStream
from bench.execute.content import Site
from bench.execute.job import Share
from bench.measures.propagation.jobs import PropagationJob, PropagationResult
from bench.texts.stream import TokenStream


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
    stream = TokenStream.load(site.path(job.stream))
    length = min(job.tokens, stream.used(job.window, job.settings.window))
    path, at = site.path(job.model), site.path(job.states)
    tokens = stream.window(job.window, job.settings.window)[:length]
    previous: dict[str, NDArray[np.float32]] = {}
    residual: dict[int, float] = {}
    attention: dict[int, float] = {}
    feed_forward: dict[int, float] = {}
    seen: set[int] = set()
    stored: NDArray[np.float32] | None = None if job.write else np.load(at, mmap_mode="r")

    def observe(layer: int, middle: NDArray[np.float32] | None, state: NDArray[np.float32]) -> None:
        nonlocal stored
        if state.shape[0] != length:
            return
        if stored is None:
            shape = (2 * model.n_layers + 1, *state.shape)
            stored = np.lib.format.open_memmap(at, mode="w+", dtype=np.float32, shape=shape)
        seen.add(layer)
        # places on the way through the model: 0 what goes in, 2 l + 1 and 2 l + 2 the middle and the end of layer l
        place = 2 * layer + 2
        if job.write:
            stored[place] = state
            if middle is not None:
                stored[place - 1] = middle
            return
        reference = np.asarray(stored[place])
        residual[layer] = relative_error(state, reference)
        if middle is not None:
            between = np.asarray(stored[place - 1])
            if previous:
                attention[layer] = relative_error(middle - previous["own"], between - previous["reference"])
            feed_forward[layer] = relative_error(state - middle, reference - between)
        previous.update(own=state, reference=reference)

    with (
        Model(path) as model,
        Context(
            model,
            n_ctx=length,
            n_batch=length,
            n_ubatch=length,
            threads=job.settings.threads,
            callback=ResidualStream(observe),
        ) as context,
    ):
        # Logits for every token: llama.cpp computes the last layer only for tokens whose logits are wanted.
        context.prepare(tokens, 0)
        context.decode()
        n_layers = model.n_layers
    if not set(range(n_layers)) <= seen:
        raise BenchError(
            f"{path.name}: llama.cpp does not name the hidden states of this architecture (l_out), so their error cannot be "
            "measured; leave --propagation out"
        )
    if job.write:
        return PropagationResult(window=job.window, residual=(), attention=(), feed_forward=())
    if not np.isfinite(list(residual.values())).all():
        raise MeasurementError("the hidden states hold NaN or Inf")
    layers = range(n_layers)
    return PropagationResult(
        window=job.window,
        residual=tuple(residual[i] for i in layers),
        attention=tuple(attention.get(i) for i in layers),
        feed_forward=tuple(feed_forward.get(i) for i in layers),
    )
