"""Contexts of llama.cpp: what a loaded model computes in, with its memory of keys and values."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError, MeasurementError
from bench.engine.graph import EvalCallback
from bench.engine.llama import Model, start_listening_for_errors, what_went_wrong
from bench.engine.lowlevel import lib
from bench.engine.settings import CACHE_TYPES, PLAIN, Cache

#: Tokens decoded before anything is timed: enough to touch every weight and to start the threads.
_WARM_UP_TOKENS = 32


@contextmanager
def _without_rotation() -> Iterator[None]:
    """Contexts that are made in the block do not rotate keys and values; llama.cpp reads the variable for each."""
    os.environ[_NO_ROTATION] = "1"
    try:
        yield
    finally:
        del os.environ[_NO_ROTATION]


_NO_ROTATION = "LLAMA_ATTN_ROT_DISABLE"


class Context:
    """A context on a loaded model, of one sequence unless more are asked for (see tree.py). Use as a context manager.

    callback, when given, sees the tensors of the graph (see graph.py). cache: how keys and values are kept; sequences: how many there may be at
    once, which share the memory. Raises BenchError where llama.cpp refuses it.
    """

    def __init__(
        self,
        model: Model,
        *,
        n_ctx: int,
        n_batch: int,
        n_ubatch: int,
        threads: int,
        callback: EvalCallback | None = None,
        cache: Cache = PLAIN,
        sequences: int = 1,
    ) -> None:
        params = lib.llama_context_default_params()
        if not cache.flash:
            params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.type_k, params.type_v = CACHE_TYPES[cache.k], CACHE_TYPES[cache.v]
        params.n_ctx = n_ctx
        params.n_batch = n_batch
        params.n_ubatch = n_ubatch
        params.n_seq_max, params.kv_unified = sequences, sequences > 1
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        params.offload_kqv = params.op_offload = model.offload is not None
        if callback is not None:
            self._callback = lib.ggml_backend_sched_eval_callback(callback)  # kept alive with the context
            params.cb_eval = self._callback
        start_listening_for_errors()
        self.model = model
        with nullcontext() if cache.rotation else _without_rotation():
            self._ctx = lib.llama_init_from_model(model._model, params)
        if not self._ctx:
            kept = "" if cache.is_plain else f" with a cache of {cache.name}"
            raise BenchError(
                f"{model.path}: llama.cpp cannot make a context of {n_ctx} tokens{kept} ({what_went_wrong()})"
            )
        self._memory = lib.llama_get_memory(self._ctx)
        self._batch = lib.llama_batch_init(n_batch, 0, sequences)
        self._n_outputs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        lib.llama_batch_free(self._batch)
        lib.llama_free(self._ctx)

    def clear(self) -> None:
        """Forget everything: the next decode starts from an empty memory."""
        lib.llama_memory_clear(self._memory, True)

    def forget_after(self, n: int) -> bool:
        """Keep the first `n` tokens only. Returns whether the architecture's memory allows that."""
        return bool(lib.llama_memory_seq_rm(self._memory, 0, n, -1))

    def state(self) -> NDArray[np.uint8]:
        """All that the memory holds, for `restore`."""
        n = int(lib.llama_state_seq_get_size(self._ctx, 0))
        found = np.empty(n, np.uint8)
        written = lib.llama_state_seq_get_data(self._ctx, _bytes_of(found), n, 0)
        if written != n:
            raise MeasurementError(f"{self.model.path.name}: llama.cpp gave {written} of {n} bytes of its memory")
        return found

    def restore(self, state: NDArray[np.uint8]) -> None:
        """Hold what another context of this model and this kind of cache held, and nothing else."""
        self.clear()
        n = len(state)
        if not lib.llama_state_seq_set_data(self._ctx, _bytes_of(state), n, 0):
            raise MeasurementError(f"{self.model.path.name}: llama.cpp cannot take over {n} bytes of memory")

    @property
    def n_past(self) -> int:
        """Number of tokens the memory holds."""
        return int(lib.llama_memory_seq_pos_max(self._memory, 0)) + 1

    def prepare(self, tokens: NDArray[np.int32], logits_from: int) -> None:
        """Fill the batch: tokens at the positions that follow the memory, logits wanted from index `logits_from` on."""
        n, past, batch = len(tokens), self.n_past, self._batch
        for i in range(n):
            batch.token[i] = int(tokens[i])
            batch.pos[i] = past + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = i >= logits_from
        batch.n_tokens = n
        self._n_outputs = max(n - logits_from, 0)

    def place(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        members: Sequence[Sequence[int]],
        wanted: Sequence[bool],
    ) -> None:
        """Fill the batch with tokens that each belong to some sequences, with their positions there, and whether their logits are wanted."""
        batch = self._batch
        for i, (token, position, of) in enumerate(zip(tokens, positions, members, strict=True)):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, len(of), wanted[i]
            for n, sequence in enumerate(of):
                batch.seq_id[i][n] = sequence
        batch.n_tokens = len(tokens)
        self._n_outputs = sum(wanted)

    def share(self, sequence: int, n: int) -> bool:
        """Keep the first `n` tokens of a sequence only, and let every sequence begin with them. Returns whether the memory allows that."""
        lib.llama_memory_seq_keep(self._memory, sequence)
        if not lib.llama_memory_seq_rm(self._memory, sequence, n, -1):
            return False
        for other in range(int(lib.llama_n_seq_max(self._ctx))):
            if other != sequence:
                lib.llama_memory_seq_cp(self._memory, sequence, other, -1, -1)
        return True

    def decode(self) -> None:
        """Run the prepared batch. Nothing but llama.cpp's own work happens here: this is what is timed."""
        status = lib.llama_decode(self._ctx, self._batch)
        if status != 0:
            raise MeasurementError(f"{self.model.path.name}: llama_decode failed with {status} ({what_went_wrong()})")
        lib.llama_synchronize(self._ctx)

    def warm_up(self, tokens: NDArray[np.int32]) -> None:
        """Decode the first of some tokens and forget them: every weight was touched and the threads have started before anything is timed."""
        first = tokens[:_WARM_UP_TOKENS]
        self.prepare(first, len(first) - 1)
        self.decode()
        self.clear()

    def logits(self) -> NDArray[np.float32]:
        """(outputs, vocabulary) view of the last decode's logits; overwritten by the next decode."""
        pointer = lib.llama_get_logits(self._ctx)
        return np.ctypeslib.as_array(pointer, (self._n_outputs, self.model.n_vocab))


def _bytes_of(values: NDArray[np.uint8]) -> object:
    """A pointer to them, for a function of the library."""
    return values.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
