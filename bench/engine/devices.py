"""Devices beside the CPU that the loaded engine can compute on, as llama.cpp reports them.

Which there are depends on how the engine was built (BENCH_ENGINE, see noxfile.py) and on the machine. Vulkan passes devices over that are no GPU
unless GGML_VK_VISIBLE_DEVICES names them.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

from bench.core.errors import BenchError, nearest
from bench.engine.jobs import Device
from bench.engine.lowlevel import libggml

#: What keeps backends from sums in F16, which they take where a device has it. On Mesa's Vulkan the mean KL divergence of the default model's F16 file from the CPU was
#: 0.0026 with it and 0.0000024 without, and of IQ2_XXS 0.2 with it. A user's own value counts; backends read it when a process first needs a device.
_FULL_PRECISION = ("GGML_VK_DISABLE_F16", "GGML_CUDA_FORCE_CUBLAS_COMPUTE_32F")
for _name in _FULL_PRECISION:
    os.environ.setdefault(_name, "1")

#: `enum ggml_backend_dev_type` of ggml-backend.h.
_KINDS = {0: "cpu", 1: "gpu", 2: "integrated gpu", 3: "accelerator", 4: "meta"}
_COMPUTES = ("gpu", "integrated gpu")


@cache
def _ggml() -> Any:
    """The functions for devices, declared."""
    size, pointer, text = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("ggml_backend_dev_count", size, []),
        ("ggml_backend_dev_get", pointer, [size]),
        ("ggml_backend_dev_name", text, [pointer]),
        ("ggml_backend_dev_description", text, [pointer]),
        ("ggml_backend_dev_type", ctypes.c_int, [pointer]),
        ("ggml_backend_dev_memory", None, [pointer, ctypes.POINTER(size), ctypes.POINTER(size)]),
    ):
        function = getattr(libggml, name)
        function.restype, function.argtypes = result, arguments
    return libggml


def _all() -> list[tuple[int, Device]]:
    ggml, found = _ggml(), []
    for i in range(ggml.ggml_backend_dev_count()):
        device = ggml.ggml_backend_dev_get(i)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        ggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
        told = Device(
            name=ggml.ggml_backend_dev_name(device).decode("utf-8", "replace"),
            description=ggml.ggml_backend_dev_description(device).decode("utf-8", "replace"),
            kind=_KINDS.get(ggml.ggml_backend_dev_type(device), "unknown"),
            free=free.value,
            total=total.value,
        )
        found.append((device, told))
    return found


def devices() -> tuple[Device, ...]:
    """Those that models can be computed on, in llama.cpp's order; none for an engine that was built for the CPU alone."""
    return tuple(told for _, told in _all() if told.kind in _COMPUTES)


def pointer(name: str) -> int:
    """What llama.cpp takes for a device. Raises BenchError where there is none of this name."""
    found = {told.name: device for device, told in _all() if told.kind in _COMPUTES}
    if name not in found:
        raise BenchError(f"there is no device {name!r}{nearest(name, found)}; `doctor` lists those that there are")
    return found[name]
