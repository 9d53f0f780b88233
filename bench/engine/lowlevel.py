"""llama-cpp-python's low-level API (ctypes declarations of llama.h and ggml.h) without its high-level one.

Importing any part of the package runs its `__init__`, which imports the high-level API, jinja2 and more: a fifth of a second
and 6 MB in a process whose time and memory are measured. So its `__init__` is not run here.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.metadata import version
from typing import Any


def _enter_package(name: str) -> None:
    if name not in sys.modules and (spec := importlib.util.find_spec(name)) is not None:
        sys.modules[name] = importlib.util.module_from_spec(spec)


_enter_package("llama_cpp")
lib: Any = importlib.import_module("llama_cpp.llama_cpp")
libggml: Any = importlib.import_module("llama_cpp._ggml").libggml
VERSION = version("llama-cpp-python")
