"""A view of the tensors that llama.cpp's evaluation callback passes on.

llama-cpp-python does not declare the C structure `ggml_tensor`, nor that of types (see kernels.py).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.engine.lowlevel import libggml

_GGML_TYPE_F32 = 0
_GGML_TYPE_I32 = 26


class Tensor(ctypes.Structure):
    """`struct ggml_tensor` of ggml.h, as of llama-cpp-python 0.3.36 (pinned in pyproject.toml)."""


Tensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(Tensor) * 10),
    ("view_src", ctypes.POINTER(Tensor)),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
    ("extra", ctypes.c_void_p),
    ("padding", ctypes.c_char * 8),
]


@cache
def op_number(name: str) -> int:
    """Number of a graph operation in the loaded library (the enumeration changes between versions)."""
    op_name = libggml.ggml_op_name
    op_name.argtypes, op_name.restype = [ctypes.c_int], ctypes.c_char_p
    for number in range(200):
        if op_name(number) == name.encode():
            return number
    raise RuntimeError(f"this llama.cpp has no graph operation {name}")


@cache
def _ggml() -> Any:
    """The functions for the data of tensors, declared. They do for memory of any device."""
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    libggml.ggml_backend_buffer_is_host.restype, libggml.ggml_backend_buffer_is_host.argtypes = ctypes.c_bool, [pointer]
    for name in ("ggml_backend_tensor_get", "ggml_backend_tensor_set"):
        function = getattr(libggml, name)
        function.restype, function.argtypes = None, [pointer, pointer, size, size]
    return libggml


def read_tensor(address: int, n_bytes: int) -> bytes:
    """The first bytes of the data of a tensor whose description lies at an address."""
    out = ctypes.create_string_buffer(n_bytes)
    _ggml().ggml_backend_tensor_get(address, out, 0, n_bytes)
    return out.raw


def write_tensor(address: int, offset: int, data: NDArray[np.generic]) -> None:
    """Put an array's bytes into the data of such a tensor, so many bytes from its beginning. data: contiguous."""
    _ggml().ggml_backend_tensor_set(address, data.ctypes.data, offset, data.nbytes)


def array(tensor: Tensor) -> NDArray[np.generic]:
    """The tensor's data, slowest dimension first: shape (ne3, ne2, ne1, ne0). A strided view, or of a device's memory a copy."""
    dtype = {_GGML_TYPE_F32: np.float32, _GGML_TYPE_I32: np.int32}[tensor.type]
    shape, strides = tuple(tensor.ne)[::-1], tuple(tensor.nb)[::-1]
    extent = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + np.dtype(dtype).itemsize
    owner = tensor.view_src.contents.buffer if tensor.view_src else tensor.buffer
    if not owner or _ggml().ggml_backend_buffer_is_host(owner):
        buffer = (ctypes.c_char * extent).from_address(tensor.data)
    else:
        buffer = (ctypes.c_char * extent)()
        _ggml().ggml_backend_tensor_get(ctypes.addressof(tensor), buffer, 0, extent)
    return np.ndarray(shape, dtype, buffer, strides=strides)


def address(tensor: Tensor) -> int:
    """Where the tensor's description lies, by which nodes of one graph are told apart."""
    return ctypes.addressof(tensor)


def sources(tensor: Tensor) -> list[int]:
    """Addresses of what the tensor is computed from."""
    return [ctypes.addressof(source.contents) for source in tensor.src if source]


def is_float32(tensor: Tensor) -> bool:
    return bool(tensor.type == _GGML_TYPE_F32)


@dataclass(frozen=True)
class MatMul:
    """One matrix product of the graph, just after it was computed.

    weight: name of the weight tensor; n_matrices: number of matrices it stacks (1, or the number of experts).
    activations: float32 (batch, groups, rows, columns), a view that is valid only during the callback.
    experts: int32 (tokens, experts used) for a product routed to experts, else None.
    """

    weight: str
    n_matrices: int
    activations: NDArray[np.float32]
    experts: NDArray[np.int32] | None


MatMulObserver = Callable[[MatMul], None]
#: What llama.cpp calls for every tensor of the graph: (pointer, whether it asks or tells, nothing) -> wanted, or go on.
EvalCallback = Callable[[int, bool, int | None], bool]


def tensor_callback(observe: Callable[[str, NDArray[np.float32]], None], wanted: Callable[[str], bool]) -> EvalCallback:
    """A `cb_eval` function that calls `observe` for each float32 tensor whose name is `wanted`, as (rows, columns).

    The array is a view that is valid only during the call.
    """

    def callback(pointer: int, ask: bool, _user_data: int | None) -> bool:
        tensor = Tensor.from_address(pointer)
        name = tensor.name.decode("utf-8", "replace")
        if ask:
            return bool(tensor.type == _GGML_TYPE_F32 and wanted(name))
        observe(name, array(tensor)[0, 0])
        return True

    return callback


def matmul_callback(observe: MatMulObserver, wanted: Callable[[str], bool], min_rows: int) -> EvalCallback:
    """A `cb_eval` function that calls `observe` for each product with a weight whose name is `wanted`.

    Products of fewer than `min_rows` rows and of activations that are not float32 are passed over, except those
    routed to experts, whose rows are spread over the experts.
    """
    mul_mat, mul_mat_id = op_number("MUL_MAT"), op_number("MUL_MAT_ID")

    def callback(pointer: int, ask: bool, _user_data: int | None) -> bool:
        tensor = Tensor.from_address(pointer)
        if tensor.op not in (mul_mat, mul_mat_id):
            return not ask
        routed = tensor.op == mul_mat_id
        weight, activations = tensor.src[0].contents, tensor.src[1].contents
        # A backend may wrap the name: CUDA0#blk.0.attn_k.weight#0
        name = weight.name.decode()
        name = name.split("#")[1] if "#" in name else name
        if ask:
            enough = routed or activations.ne[1] >= min_rows
            return bool(enough and activations.type == _GGML_TYPE_F32 and wanted(name))
        experts = array(tensor.src[2].contents)[0, 0] if routed else None
        n_matrices = weight.ne[2] * weight.ne[3]
        observe(MatMul(name, n_matrices, array(activations), experts))  # type: ignore[arg-type]
        return True

    return callback


def pausing_callback(pause: Callable[[], None], every: int) -> EvalCallback:
    """A `cb_eval` function that calls `pause` whenever so many operations of the graph have been computed.

    No thread of the engine's computes meanwhile. The graph is computed as it would be without, but for a synchronization of the threads before
    each pause.
    """
    seen = 0

    def callback(_pointer: int, ask: bool, _user_data: int | None) -> bool:
        nonlocal seen
        if ask:
            seen += 1
            return seen % every == 0
        pause()
        return True

    return callback


def source_callback(found: Callable[[str, int], None]) -> EvalCallback:
    """A `cb_eval` function that tells the name of everything that the graph's operations read, and where its description lies.

    Nothing is asked for, so the graph is computed as it would be without.
    """

    def callback(pointer: int, ask: bool, _user_data: int | None) -> bool:
        if ask:
            for source in Tensor.from_address(pointer).src:
                if source:
                    found(source.contents.name.decode("utf-8", "replace"), ctypes.addressof(source.contents))
        return not ask

    return callback
