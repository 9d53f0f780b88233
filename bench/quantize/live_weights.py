"""A loaded model whose weights are exchanged in memory, so that the effect of a type is measured without a file. Used in a worker.

The quantized weights replace the model's own as dequantized values, in the type that the model has. So the model's own
kernels compute with them. All the loss of the weights is included; the (far smaller) loss of the activations, which
quantized kernels round to 8 bits, is not.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.engine.context import Context
from bench.engine.graph import read_tensor, source_callback, write_tensor
from bench.engine.kernels import dequantize, quantize_rows
from bench.engine.llama import Model
from bench.gguf_files.header import Header, HeaderTensor, read_header
from bench.gguf_files.info import UNQUANTIZED
from bench.quantize.block_cache import BlockCache, Pair
from bench.quantize.blocks import obtain

#: Weights that a thread converts at a time.
_CHUNK = 2**21
#: Bytes by which a tensor is recognized in memory.
_SAMPLE = 4096


class LiveWeights:
    """The weights of a model that was loaded with `own_memory`. Raises BenchError for a model that is already quantized,
    and for one whose tensors are not in memory as they stand in the file."""

    def __init__(
        self, model: Model, importance: dict[str, NDArray[np.float32]], cache: BlockCache, threads: int
    ) -> None:
        self._source, self._importance, self._cache, self._threads = model.path, importance, cache, threads
        self._header: Header = read_header(model.path)
        self._tensors = {t.name: t for t in self._header.tensors}
        self._addresses = _locate(model, self._tensors, threads)
        self.types: dict[str, str] = {}

    def assign(self, assignment: dict[str, str]) -> None:
        """Put these types' values in place, and the model's own everywhere else."""
        for name in (self.types.keys() - assignment.keys()) & self._addresses.keys():
            tensor = self._tensors[name]
            self._put(tensor, np.fromfile(self._source, np.uint8, tensor.n_bytes, offset=tensor.start))
        # a tensor that the graph does not read (layers for speculative decoding) does nothing to the output
        changed = [n for n, t in assignment.items() if self.types.get(n) != t and n in self._addresses]
        pairs = [Pair(self._tensors[n], gguf.GGMLQuantizationType[assignment[n]]) for n in changed]
        with ThreadPoolExecutor(self._threads) as pool:
            # a few at a time: blocks of a whole model do not wait in memory
            for start in range(0, len(pairs), 4 * self._threads):
                group = pairs[start : start + 4 * self._threads]
                list(pool.map(self._put_pair, *zip(*obtain(self._source, group, self._importance, self._cache, self._threads), strict=True)))  # fmt: skip
        self.types = dict(assignment)

    def _put_pair(self, pair: Pair, data: NDArray[np.uint8]) -> None:
        tensor, columns = pair.tensor, pair.tensor.shape[0]
        rows = int(np.prod(tensor.shape[1:], dtype=np.int64))
        row_bytes, step = data.size // rows, max(1, _CHUNK // columns)
        offset = 0
        for start in range(0, rows, step):
            part = data[start * row_bytes : min(start + step, rows) * row_bytes]
            values = dequantize(part, pair.kind).reshape(-1, columns)
            # a conversion like any other: ggml rounds to F16 and BF16 by the same function
            own = (
                values.view(np.uint8).ravel() if tensor.type.name == "F32" else quantize_rows(values, tensor.type, None)
            )
            self._write(tensor, offset, own)
            offset += own.size

    def _put(self, tensor: HeaderTensor, data: NDArray[np.uint8]) -> None:
        self._write(tensor, 0, data[: tensor.n_bytes])

    def _write(self, tensor: HeaderTensor, offset: int, data: NDArray[np.uint8]) -> None:
        for address in self._addresses[tensor.name]:
            write_tensor(address, offset, data)


def _locate(model: Model, tensors: dict[str, HeaderTensor], threads: int) -> dict[str, set[int]]:
    """Where the model's weights are described, found by computing a token, and checked against the file: of each once, or twice where a device
    holds a copy of embeddings that are the output too."""
    quantized = [t for t in tensors.values() if t.type.name not in UNQUANTIZED]
    if quantized:
        raise BenchError(
            f"{model.path.name}: {quantized[0].name} is quantized already, so the effect of types cannot be measured on it; "
            "use the unquantized model"
        )
    addresses: dict[str, set[int]] = {}

    def found(name: str, address: int) -> None:
        if name in tensors:
            addresses.setdefault(name, set()).add(address)

    with Context(model, n_ctx=8, n_batch=8, n_ubatch=8, threads=threads, callback=source_callback(found)) as context:
        context.prepare(np.zeros(2, np.int32), 0)
        context.decode()
    if len(addresses) < len(tensors) / 2:
        raise BenchError(
            f"{model.path.name}: its weights cannot be found in memory, so the effect of types cannot be measured"
        )
    for name, found_at in addresses.items():
        tensor = tensors[name]
        size = min(tensor.n_bytes, _SAMPLE)
        own = _read(model.path, tensor.start, size)
        if any(read_tensor(address, size) != own for address in found_at):
            raise BenchError(
                f"{model.path.name}: llama.cpp keeps {name} in another form than the file's, so the effect of types cannot be "
                "measured on this machine"
            )
    return addresses


def _read(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as f:
        f.seek(start)
        return f.read(size)
