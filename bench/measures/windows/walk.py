"""A context that deepens from test to test: it is filled once, and what a test adds is forgotten again.

So one prefill serves all depths of a round, as in ik_llama.cpp's sweep-bench. Each test at a depth begins with the same tokens in the
context, whatever was timed before it.
"""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import MeasurementError
from bench.engine.context import Context
from bench.engine.graph import EvalCallback
from bench.engine.llama import Model
from bench.engine.settings import Cache


class Walk:
    """Contexts of one model with one kind of cache. tokens: what it is filled with, as many as the deepest test reaches; callback: of decodes that
    are timed operation by operation, for which there is a second context, since it would slow others down; None for no such thing.

    Use as a context manager.
    """

    def __init__(
        self,
        model: Model,
        cache: Cache,
        tokens: NDArray[np.int32],
        *,
        batch: int,
        ubatch: int,
        threads: int,
        callback: EvalCallback | None,
    ) -> None:
        self._model, self._cache, self.tokens = model, cache, tokens
        self._batch, self._ubatch, self._threads = batch, min(ubatch, batch), threads
        self._callback, self._opened = callback, ExitStack()
        self._filled: Context | None = None
        self._pausing: Context | None = None

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def at(self, depth: int, *, pausing: bool) -> Context:
        """A context that holds the first `depth` tokens. pausing: with the callback, if there is one.

        Raises BenchError where llama.cpp refuses the cache.
        """
        filled = self._fill(depth)
        if not pausing or self._callback is None:
            return filled
        if self._pausing is None:
            self._pausing = self._open(self._callback)
        if depth:
            self._pausing.restore(filled.state())
        else:
            self._pausing.clear()
        return self._pausing

    def _fill(self, depth: int) -> Context:
        if self._filled is None:
            self._filled = self._open(None)
        context = self._filled
        if context.n_past > depth and not (depth and context.forget_after(depth)):
            context.clear()  # nothing is to be kept, or the architecture's memory cannot forget a part
        while context.n_past < depth:
            past = context.n_past
            part = self.tokens[past : min(past + self._batch, depth)]
            context.prepare(part, len(part))
            context.decode()
            if context.n_past != past + len(part):
                raise MeasurementError(f"only {context.n_past} of {depth} tokens were processed")
        return context

    def _open(self, callback: EvalCallback | None) -> Context:
        context = self._opened.enter_context(
            Context(
                self._model,
                n_ctx=len(self.tokens),
                n_batch=self._batch,
                n_ubatch=self._ubatch,
                threads=self._threads,
                callback=callback,
                cache=self._cache,
            )
        )
        context.warm_up(self.tokens[: self._batch])
        return context
