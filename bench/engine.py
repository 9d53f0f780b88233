"""llama.cpp through llama-cpp-python's low-level API: the only module, with graph.py, that knows ctypes.

Everything here runs inside a worker process (see worker.py): a crash in native code ends that process only.
"""

from __future__ import annotations

import ctypes
import platform
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import gguf
import llama_cpp.llama_cpp as lib
import numpy as np
from llama_cpp import __version__ as binding_version
from numpy.typing import NDArray

from bench.errors import BenchError, MeasurementError, nearest
from bench.graph import MatMulObserver, matmul_callback

_LOG_ERROR = 4

# --- log ---------------------------------------------------------------------------------------------------------

_recent: deque[str] = deque(maxlen=200)
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
        _recent.append(line)
        for listener in _listeners:
            listener(line)


# Kept alive for the life of the process: llama.cpp would call into freed memory otherwise.
_log_callback = lib.llama_log_callback(_on_log)
lib.llama_log_set(_log_callback, ctypes.c_void_p(0))
lib.llama_backend_init()


@contextmanager
def _listen(listener: Callable[[str], None]) -> Iterator[None]:
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _reason() -> str:
    """What llama.cpp last said was wrong, without its function names."""
    said = [re.sub(r"^\w+: ", "", e) for e in _errors if e]
    specific = [s for s in said if not s.startswith("failed to load model")]
    return (specific or said or ["no reason given"])[0]


# --- what the library is --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Library:
    """The loaded engine, as it reports itself."""

    binding: str
    llama_cpp: str
    features: tuple[str, ...]

    @property
    def isa(self) -> str:
        return isa_label(self.features, platform.machine())


def isa_label(features: tuple[str, ...], architecture: str) -> str:
    """The instruction set the kernels were compiled for: the widest one that the library names."""
    for feature, label in (
        ("AMX_INT8", "AMX"),
        ("AVX512", "AVX512"),
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


def library() -> Library:
    report = lib.llama_print_system_info().decode()
    features = tuple(name for name, value in re.findall(r"(\w+) = (\d+)", report) if value != "0")
    return Library(binding_version, lib.llama_version().decode(), features)


# --- models and contexts ---------------------------------------------------------------------------------------------


class Model:
    """A model loaded for the CPU. Use as a context manager.

    Raises BenchError when llama.cpp cannot load the file, with its reason.
    """

    def __init__(self, path: Path, *, vocab_only: bool = False) -> None:
        params = lib.llama_model_default_params()
        params.n_gpu_layers = 0
        params.vocab_only = vocab_only
        _errors.clear()
        self.path = path
        self._model = lib.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise BenchError(f"{path}: llama.cpp cannot load this model ({_reason()})")
        self._vocab = lib.llama_model_get_vocab(self._model)
        self.n_vocab = lib.llama_vocab_n_tokens(self._vocab)
        self.n_ctx_train = lib.llama_model_n_ctx_train(self._model)
        bos = lib.llama_vocab_bos(self._vocab)
        #: Token to put at the start of every window, or None where the vocabulary does not ask for one.
        self.bos = bos if lib.llama_vocab_get_add_bos(self._vocab) and bos >= 0 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        lib.llama_model_free(self._model)

    def tokenize(self, text: str) -> NDArray[np.int32]:
        """Tokens of a text, as llama-perplexity reads a file: special tokens added, none parsed from the text."""
        data = text.encode()
        capacity = len(data) + 8
        while True:
            tokens = (lib.llama_token * capacity)()
            n = lib.llama_tokenize(self._vocab, data, len(data), tokens, capacity, True, False)
            if n >= 0:
                return np.array(tokens[:n], np.int32)
            capacity = -n

    def piece(self, token: int) -> bytes:
        """The bytes a token stands for (empty for control tokens)."""
        buffer = ctypes.create_string_buffer(256)
        n = lib.llama_token_to_piece(self._vocab, token, buffer, 256, 0, False)  # type: ignore[arg-type]
        return buffer.raw[: max(n, 0)]


class Context:
    """A context of one sequence on a loaded model. Use as a context manager.

    observer, when given, sees every product with a weight named `blk.*` (see graph.MatMul) of at least 16 rows.
    """

    def __init__(
        self, model: Model, *, n_ctx: int, n_batch: int, n_ubatch: int, threads: int,
        observer: MatMulObserver | None = None,
    ) -> None:  # fmt: skip
        params = lib.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = n_batch
        params.n_ubatch = n_ubatch
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        if observer is not None:
            callback = matmul_callback(observer, lambda name: name.startswith("blk."), min_rows=16)
            self._callback = lib.ggml_backend_sched_eval_callback(callback)  # kept alive with the context
            params.cb_eval = self._callback
        _errors.clear()
        self.model = model
        self._ctx = lib.llama_init_from_model(model._model, params)
        if not self._ctx:
            raise BenchError(f"{model.path}: llama.cpp cannot make a context of {n_ctx} tokens ({_reason()})")
        self._memory = lib.llama_get_memory(self._ctx)
        self._batch = lib.llama_batch_init(n_batch, 0, 1)
        self._n_outputs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        lib.llama_batch_free(self._batch)
        lib.llama_free(self._ctx)

    def clear(self) -> None:
        """Forget everything: the next decode starts from an empty memory."""
        lib.llama_memory_clear(self._memory, True)

    @property
    def n_past(self) -> int:
        """Number of tokens the memory holds."""
        return lib.llama_memory_seq_pos_max(self._memory, 0) + 1

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

    def decode(self) -> None:
        """Run the prepared batch. Nothing but llama.cpp's own work happens here: this is what is timed."""
        status = lib.llama_decode(self._ctx, self._batch)
        if status != 0:
            raise MeasurementError(f"{self.model.path.name}: llama_decode failed with {status} ({_reason()})")
        lib.llama_synchronize(self._ctx)

    def logits(self) -> NDArray[np.float32]:
        """(outputs, vocabulary) view of the last decode's logits; overwritten by the next decode."""
        pointer = lib.llama_get_logits(self._ctx)
        return np.ctypeslib.as_array(pointer, (self._n_outputs, self.model.n_vocab))


# --- quantization ----------------------------------------------------------------------------------------------------

_SIZE_LINE = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]\s+(\S+)\s+- \[.*?\], type =\s*(\w+),.*size =.*MiB(?:.*\((\w+)\))?")
_FALLBACK_LINE = re.compile(r"(\S+)\s+- ncols.*required for type\s+(\w+)\).*falling back to\s+(\w+)")


@dataclass(frozen=True)
class Plan:
    """What llama.cpp will store: types by tensor name, and the types it had to replace as {name: (asked, stored)}."""

    types: dict[str, str]
    replaced: dict[str, tuple[str, str]]


def known_file_types() -> tuple[str, ...]:
    """Names of the formats this library can be asked for, such as IQ2_XXS or Q4_K_M."""
    prefixes = ("LLAMA_FTYPE_MOSTLY_", "LLAMA_FTYPE_ALL_")
    return tuple(n.removeprefix(p) for p in prefixes for n in dir(lib) if n.startswith(p))


@dataclass(frozen=True)
class QuantizeRequest:
    """source: an unquantized GGUF; file_type: whose mix of types to use; overrides: types by tensor name that go before it.

    importance: mean squared activations by tensor name (imatrix.ImportanceMatrix.means), empty for none.
    """

    source: Path
    file_type: str
    overrides: dict[str, str]
    importance: dict[str, NDArray[np.float32]]


def plan(request: QuantizeRequest) -> Plan:
    """The types that `quantize` would store, from a dry run that reads no weights and writes nothing.

    The C API returns only success or failure, so the plan is read from the log; a tensor that is missing there is an error.
    """
    types: dict[str, str] = {}
    replaced: dict[str, tuple[str, str]] = {}
    expected = 0

    def read(line: str) -> None:
        nonlocal expected
        if m := _SIZE_LINE.match(line):
            expected = int(m[2])
            types[m[3]] = (m[5] or m[4]).upper()
        elif m := _FALLBACK_LINE.search(line):
            replaced[m[1]] = (m[2].upper(), m[3].upper())

    _run_quantizer(request, None, 1, read)
    if not expected or len(types) != expected:
        raise BenchError(
            f"{request.source}: only {len(types)} of {expected} tensors are in llama.cpp's plan for {request.file_type}; "
            "its log is not the one this program was made for, install the pinned llama-cpp-python"
        )
    return Plan(types, replaced)


def quantize(request: QuantizeRequest, target: Path, *, threads: int, progress: Callable[[float], None]) -> None:
    """Write `target` with llama.cpp's quantizer. progress is called with the share of tensors that are done."""

    def report(line: str) -> None:
        if m := re.match(r"^\[\s*(\d+)/\s*(\d+)\]", line):
            progress(int(m[1]) / int(m[2]))

    _run_quantizer(request, target, threads, report)


def _run_quantizer(request: QuantizeRequest, target: Path | None, threads: int, listener: Callable[[str], None]) -> None:
    """llama_model_quantize; a dry run when there is no target. Raises BenchError with llama.cpp's reason."""
    file_type = getattr(lib, f"LLAMA_FTYPE_MOSTLY_{request.file_type}", getattr(lib, f"LLAMA_FTYPE_ALL_{request.file_type}", None))
    if file_type is None:
        raise BenchError(f"this llama.cpp has no format {request.file_type}{nearest(request.file_type, known_file_types())}")
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.dry_run = file_type, threads, target is None
    if request.importance:
        entries = (lib.llama_model_imatrix_data * (len(request.importance) + 1))()  # ends with a NULL name
        values = {name: np.ascontiguousarray(v, np.float32) for name, v in request.importance.items()}
        for entry, (name, data) in zip(entries, values.items(), strict=False):
            entry.name, entry.size = name.encode(), data.size
            entry.data = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        params.imatrix = ctypes.cast(entries, type(params.imatrix))
    if request.overrides:
        table = (lib.llama_model_tensor_override * (len(request.overrides) + 1))()  # ends with a NULL pattern
        for override, (name, type_name) in zip(table, request.overrides.items(), strict=False):
            override.pattern = ("^" + name.replace(".", r"\.") + "$").encode()
            override.type = gguf.GGMLQuantizationType[type_name]
        params.tt_overrides = ctypes.cast(table, type(params.tt_overrides))
    _errors.clear()
    with _listen(listener):
        status = lib.llama_model_quantize(str(request.source).encode(), str(target or "").encode(), params)
    if status != 0:
        if "iostream" in _reason():
            raise BenchError(f"{target}: cannot be written to its end; free some space on the disk, or choose another directory with --cache")
        what = target.name if target else f"a plan for {request.file_type} of {request.source}"
        raise BenchError(f"{what}: llama.cpp could not make it ({_reason()})")
