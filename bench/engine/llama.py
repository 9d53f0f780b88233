"""llama.cpp through llama-cpp-python's low-level API.

Everything here runs inside a worker process (see execute/worker.py): a crash in native code ends that process only.
"""

from __future__ import annotations

import ctypes
import platform
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.engine.devices import pointer
from bench.engine.lowlevel import VERSION, lib, libggml
from bench.engine.settings import LibraryInfo, Offload

_LOG_ERROR = 4

# --- log ---------------------------------------------------------------------------------------------------------

_errors: deque[str] = deque(maxlen=20)
_listeners: list[Callable[[str], None]] = []
_partial = ""


def _on_log(level: int, text: bytes, _user_data: int | None) -> None:
    """Join the fragments that llama.cpp logs into lines; keep the last ones and pass each to the listeners."""
    global _partial
    decoded = text.decode("utf-8", "replace")
    if level == _LOG_ERROR:
        _errors.append(decoded.strip())
    _partial += decoded
    *lines, _partial = _partial.split("\n")
    for line in lines:
        for listener in _listeners:
            listener(line)


# Kept alive for the life of the process: llama.cpp would call into freed memory otherwise.
_log_callback = lib.llama_log_callback(_on_log)
lib.llama_log_set(_log_callback, ctypes.c_void_p(0))


class _InitParams(ctypes.Structure):
    """`struct ggml_init_params` of ggml.h."""

    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


def _make_tables() -> None:
    """What llama_backend_init does, but for finding devices: processes are forked from this one, and a driver of a GPU does not work in a fork of a process that
    it was started in. llama.cpp finds them itself when a process first needs one."""
    libggml.ggml_init.restype, libggml.ggml_init.argtypes = ctypes.c_void_p, [_InitParams]
    libggml.ggml_free.restype, libggml.ggml_free.argtypes = None, [ctypes.c_void_p]
    libggml.ggml_time_init()
    libggml.ggml_free(libggml.ggml_init(_InitParams(0, None, False)))


_make_tables()


def start_listening_for_errors() -> None:
    """Forget the errors that were logged so far, before a call whose failure is to be explained."""
    _errors.clear()


@contextmanager
def listen(listener: Callable[[str], None]) -> Iterator[None]:
    """Pass every line that llama.cpp logs to a listener."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def what_went_wrong() -> str:
    """What llama.cpp last said was wrong, without its function names."""
    said = [re.sub(r"^\w+: ", "", e) for e in _errors if e]
    specific = [s for s in said if not s.startswith("failed to load model")]
    return (specific or said or ["no reason given"])[0]


# --- what the library is --------------------------------------------------------------------------------------------


def isa_label(features: tuple[str, ...], architecture: str) -> str:
    """The instruction set the kernels were compiled for: the widest one that the library names."""
    for feature, label in (
        ("AMX_INT8", "AMX"),
        ("AVX512", "AVX512"),
        ("AVX_VNNI", "AVX2+VNNI"),
        ("AVX2", "AVX2"),
        ("AVX", "AVX"),
        ("SVE", "SVE"),
        ("MATMUL_INT8", "NEON+i8mm"),
        ("DOTPROD", "NEON+dotprod"),
        ("NEON", "NEON"),
    ):
        if feature in features:
            return label
    return architecture


def library() -> LibraryInfo:
    """The loaded engine, as it reports itself."""
    features = cpu_features(lib.llama_print_system_info().decode())
    return LibraryInfo(
        binding=VERSION,
        llama_cpp=lib.llama_version().decode(),
        features=features,
        isa=isa_label(features, platform.machine()),
    )


def cpu_features(report: str) -> tuple[str, ...]:
    """What the kernels for the CPU were built with, of a report such as `CUDA : ARCHS = 900 | CPU : AVX2 = 1 | `: a GPU beside it changes none of them."""
    backend, found = "CPU", []
    for part in report.split("|"):
        *named, told = part.split(" : ")
        backend = named[0].strip() if named else backend
        if backend == "CPU" and (feature := re.search(r"(\w+) = (\d+)", told)) and feature[2] != "0":
            found.append(feature[1])
    return tuple(found)


# --- models and contexts ---------------------------------------------------------------------------------------------


#: Spellings of the tokens of infill prompts: before prefix, suffix, middle.
INFILL_SPELLINGS = (
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<|fim_begin|>", "<|fim_hole|>", "<|fim_end|>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
)


#: A text that no token joins with what follows it.
_MARK = "\n"


class Model:
    """A model, loaded for the CPU unless told. Use as a context manager.

    offload: the device that computes its layers; own_memory: keep weights in memory of this process, as they stand in the file, not mapped and not repacked.
    Raises BenchError when llama.cpp cannot load the file, with its reason.
    """

    def __init__(
        self, path: Path, *, vocab_only: bool = False, own_memory: bool = False, offload: Offload | None = None
    ) -> None:
        params = lib.llama_model_default_params()
        params.n_gpu_layers = 0 if offload is None else offload.layers
        # a list that ends with nothing: without a device figures are the CPU's on every build
        self._devices = (ctypes.c_void_p * 2)(*([] if offload is None else [pointer(offload.device)]))
        params.devices = ctypes.addressof(self._devices)
        self.offload = offload
        params.vocab_only = vocab_only
        if own_memory:
            params.load_mode, params.use_extra_bufts = lib.LLAMA_LOAD_MODE_NONE, False
        start_listening_for_errors()
        self.path = path
        self._model = lib.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise BenchError(f"{path}: llama.cpp cannot load this model ({what_went_wrong()})")
        self.n_layers = int(lib.llama_model_n_layer(self._model))
        self._vocab = lib.llama_model_get_vocab(self._model)
        self.n_vocab = lib.llama_vocab_n_tokens(self._vocab)
        bos = lib.llama_vocab_bos(self._vocab)
        #: Token to put at the start of every window, or None where the vocabulary does not ask for one.
        self.bos = bos if lib.llama_vocab_get_add_bos(self._vocab) and bos >= 0 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        lib.llama_model_free(self._model)

    @property
    def description(self) -> str:
        """What llama.cpp calls it, for instance `llama 8B Q4_K - Medium`."""
        buffer = ctypes.create_string_buffer(256)
        lib.llama_model_desc(self._model, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    @property
    def n_bytes(self) -> int:
        """Bytes of all tensors."""
        return int(lib.llama_model_size(self._model))

    @property
    def n_weights(self) -> int:
        return int(lib.llama_model_n_params(self._model))

    @property
    def is_recurrent(self) -> bool:
        """Whether its memory is a state, in part at least, which sequences cannot share a part of."""
        return bool(lib.llama_model_is_recurrent(self._model) or lib.llama_model_is_hybrid(self._model))

    def tokenize(self, text: str, *, start: bool = True, special: bool = False) -> NDArray[np.int32]:
        """Tokens of a text; by default as llama-perplexity reads a file.

        start: add what the vocabulary puts at the start of a text. special: read special tokens that are spelled out in it.
        """
        data = text.encode()
        capacity = len(data) + 8
        while True:
            tokens = (lib.llama_token * capacity)()
            n = lib.llama_tokenize(self._vocab, data, len(data), tokens, capacity, start, special)
            if n >= 0:
                return np.array(tokens[:n], np.int32)
            capacity = -n

    def continued(self, text: str, *, special: bool = False) -> list[int]:
        """Tokens of a text that does not begin one: without the blank that vocabularies of the SentencePiece kind put first."""
        tokens = [int(t) for t in self.tokenize(text, start=False, special=special)]
        spelled = b"".join(map(self.piece, tokens))
        if len(spelled) - len(spelled.lstrip(b" ")) <= len(text) - len(text.lstrip(" ")):
            return tokens
        mark = [int(t) for t in self.tokenize(_MARK, start=False)]
        marked = [int(t) for t in self.tokenize(_MARK + text, start=False, special=special)]
        return marked[len(mark) :] if marked[: len(mark)] == mark else tokens

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes a token stands for; of control tokens the spelling, if `special`, and nothing otherwise."""
        buffer = ctypes.create_string_buffer(256)
        n = lib.llama_token_to_piece(self._vocab, token, buffer, 256, 0, special)
        return buffer.raw[: max(n, 0)]

    def infill_tokens(self) -> tuple[int, int, int] | None:
        """Tokens before the prefix, the suffix and the middle of an infill prompt; None for a vocabulary without them.

        As the file names them or llama.cpp recognizes them, or else by the spellings that models in use have.
        """
        named = tuple(
            int(f(self._vocab)) for f in (lib.llama_vocab_fim_pre, lib.llama_vocab_fim_suf, lib.llama_vocab_fim_mid)
        )
        if min(named) >= 0:
            return named[0], named[1], named[2]
        for spellings in INFILL_SPELLINGS:
            tokens = [self.tokenize(s, start=False, special=True) for s in spellings]
            if all(len(t) == 1 for t in tokens):
                return int(tokens[0][0]), int(tokens[1][0]), int(tokens[2][0])
        return None

    def mark(self, text: str | None) -> tuple[int, ...]:
        """The special token that a text spells; nothing where it is no single one."""
        tokens = () if text is None else tuple(int(t) for t in self.tokenize(text, start=False, special=True))
        return tokens if len(tokens) == 1 else ()

    def is_end(self, token: int) -> bool:
        """Whether a model says with this token that it has finished."""
        return bool(lib.llama_vocab_is_eog(self._vocab, token))

    def start_token(self) -> int:
        """What stands before a text that nothing precedes: the token that begins one, or else that which ends one."""
        bos = int(lib.llama_vocab_bos(self._vocab))
        return bos if bos >= 0 else int(lib.llama_vocab_eos(self._vocab))

    def added_end(self) -> int | None:
        """The token that the vocabulary puts at the end of every text, None where it does not."""
        eos = int(lib.llama_vocab_eos(self._vocab))
        return eos if lib.llama_vocab_get_add_eos(self._vocab) and eos >= 0 else None

    def special_texts(self) -> dict[str, str]:
        """The spellings of the tokens that begin and end a text, as chat templates ask for them; empty where there are none."""
        tokens = {"bos_token": lib.llama_vocab_bos(self._vocab), "eos_token": lib.llama_vocab_eos(self._vocab)}
        return {name: lib.llama_vocab_get_text(self._vocab, t).decode() if t >= 0 else "" for name, t in tokens.items()}
