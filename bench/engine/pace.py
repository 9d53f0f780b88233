"""The highest speed at which this machine can generate: bytes per second that all threads read, and weights per second that the
engine's kernels multiply. Used in worker processes only.

Generating a token reads every weight that it needs once and multiplies it once, so it takes at least as long as the slower
of the two (the roofline of Williams, Waterman and Patterson, 2009). Other work on the machine only slows, so the best of
several rounds counts.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from functools import cache

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.engine.jobs import Pace
from bench.engine.lowlevel import libggml

#: Bytes that are read in a round by all threads together: more than caches hold.
_READ = 512 * 2**20
#: Weights that a kernel multiplies in a call: with their activations they stay in a core's own cache.
_WEIGHTS = 2**16
_ROUNDS, _CALLS = 10, 20

_VecDot = ctypes.CFUNCTYPE(
    None, ctypes.c_int, *[ctypes.c_void_p, ctypes.c_size_t] * 3, ctypes.c_int
)  # n, result, its step, weights, their step, activations, their step, rows


class _CpuTraits(ctypes.Structure):
    """`struct ggml_type_traits_cpu` of ggml-cpu.h, as of llama-cpp-python 0.3.36 (pinned in pyproject.toml)."""

    _fields_ = (
        ("from_float", ctypes.c_void_p),
        ("vec_dot", ctypes.c_void_p),
        ("vec_dot_type", ctypes.c_int),
        ("nrows", ctypes.c_int64),
    )


def measure_pace(threads: int) -> Pace:
    """Bandwidth of memory with so many threads, in bytes/s, and weights/s of one thread for every type. Takes about a second."""
    return Pace(threads=threads, bandwidth=_bandwidth(threads), kernels=_kernels())


def _bandwidth(threads: int) -> float:
    parts = [np.ones(_READ // threads // 8, np.int64) for _ in range(threads)]

    def read_all() -> None:
        readers = [threading.Thread(target=np.max, args=(part,)) for part in parts]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()

    return sum(part.nbytes for part in parts) / min(_timed(read_all) for _ in range(_ROUNDS))


def _kernels() -> dict[str, float]:
    libggml.ggml_cpu_init()
    found = {}
    for kind in gguf.GGMLQuantizationType:
        traits = _traits(kind)
        if kind not in gguf.GGML_QUANT_SIZES or not traits.vec_dot:
            continue
        weights, activations = _zeros(kind), _zeros(gguf.GGMLQuantizationType(traits.vec_dot_type))
        product, result = _VecDot(traits.vec_dot), ctypes.c_float()
        arguments = (_WEIGHTS, ctypes.addressof(result), 0, weights.ctypes.data, 0, activations.ctypes.data, 0, 1)

        def multiply(product: ctypes._FuncPointer = product, arguments: tuple[int, ...] = arguments) -> None:
            for _ in range(_CALLS):
                product(*arguments)

        found[kind.name] = _CALLS * _WEIGHTS / min(_timed(multiply) for _ in range(_ROUNDS))
    return found


@cache
def _traits(kind: gguf.GGMLQuantizationType) -> _CpuTraits:
    get = libggml.ggml_get_type_traits_cpu
    get.argtypes, get.restype = [ctypes.c_int], ctypes.POINTER(_CpuTraits)
    found: _CpuTraits = get(kind).contents
    return found


def _zeros(kind: gguf.GGMLQuantizationType) -> NDArray[np.uint8]:
    block, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    return np.zeros(_WEIGHTS // block * n_bytes, np.uint8)


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
