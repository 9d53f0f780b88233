"""GGUF files: a file's own metadata, and writing a file so that it is complete or absent."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from bench.core.errors import BenchError
from bench.core.formats import in_one_line
from bench.gguf_files.details import ModelDetails, model_details
from bench.gguf_files.header import ArrayLength, read_header

#: Types a reference may have; any other is already quantized.
UNQUANTIZED = frozenset({"F32", "F16", "BF16", "F64"})
#: Characters of a model's name and of its description.
_MAX_SHOWN, _MAX_TEXT = 120, 2000


def type_bits(name: str) -> float:
    """Bits per weight of a type, scales included."""
    block, n_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    return 8 * n_bytes / block


class TensorInfo(BaseModel):
    """A stored tensor. shape: fastest dimension (columns, the width of the input) first, as GGUF states it."""

    model_config = ConfigDict(frozen=True)

    name: str
    shape: tuple[int, ...]
    type: str
    n_bytes: int

    @property
    def n_weights(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


class ModelInfo(BaseModel):
    """What a GGUF file is. sizes in bytes; vocabulary_sha256: equal for models that read text as the same tokens."""

    model_config = ConfigDict(frozen=True)

    path: Path
    n_bytes: int
    architecture: str
    name: str
    description: str | None
    n_layers: int
    context_length: int
    vocabulary: int
    vocabulary_sha256: str
    tensors: tuple[TensorInfo, ...]
    details: ModelDetails

    @property
    def license(self) -> str | None:
        return self.details.license

    @property
    def n_weights(self) -> int:
        return sum(t.n_weights for t in self.tensors)

    @property
    def bits_per_weight(self) -> float:
        """8 x bytes of all tensors / number of weights: llama.cpp's BPW, without the file's vocabulary and metadata."""
        return 8 * sum(t.n_bytes for t in self.tensors) / self.n_weights

    @property
    def weights_by_type(self) -> dict[str, int]:
        """Number of weights stored in each type, most first."""
        counts: Counter[str] = Counter()
        for t in self.tensors:
            counts[t.type] += t.n_weights
        return dict(counts.most_common())

    @property
    def quantized_tensors(self) -> tuple[str, ...]:
        return tuple(t.name for t in self.tensors if t.type not in UNQUANTIZED)


def open_gguf(path: Path) -> gguf.GGUFReader:
    """A file with all its metadata and weights, to copy from. Raises BenchError that says what is wrong with it."""
    read_header(path)
    try:
        return gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError, OverflowError, struct.error) as e:
        raise BenchError(f"{path}: is damaged; download or convert it again") from e


def inspect(path: Path) -> ModelInfo:
    """Read a model file's header. Raises BenchError when it is not a complete GGUF model."""
    header = read_header(path)
    metadata = header.metadata
    architecture = str(metadata.get("general.architecture", ""))
    if not header.tensors or not architecture:
        raise BenchError(
            f"{path}: holds no model (general.type is {metadata.get('general.type')}); name a model's GGUF file"
        )
    if _number(metadata.get("split.count")) > 1:
        raise BenchError(
            f"{path}: is one part of {_number(metadata.get('split.count'))}; --model and --compare join them, or llama-gguf-split --merge does"
        )
    tokens = metadata.get("tokenizer.ggml.tokens")
    return ModelInfo(
        path=path.absolute(),  # not resolved: in the hub's cache a link bears the file's name
        n_bytes=path.stat().st_size,
        architecture=architecture,
        # in one line: it goes into tables, pages and scripts
        name=in_one_line(str(metadata.get("general.name", "")))[:_MAX_SHOWN] or in_one_line(path.stem),
        description=_text(metadata.get("general.description")),
        n_layers=_number(metadata.get(f"{architecture}.block_count")),
        context_length=_number(metadata.get(f"{architecture}.context_length")),
        vocabulary=tokens.length if isinstance(tokens, ArrayLength) else 0,
        vocabulary_sha256=header.vocabulary_sha256,
        tensors=tuple(
            TensorInfo(name=t.name, shape=t.shape, type=t.type.name, n_bytes=t.n_bytes) for t in header.tensors
        ),
        details=model_details(path, metadata),
    )


def _text(value: object) -> str | None:
    """What a header says to people, in one line and not without end."""
    return None if value is None else in_one_line(str(value))[:_MAX_TEXT]


def _number(value: object) -> int:
    """A count from the metadata; some architectures state one per layer, of which the largest counts."""
    if isinstance(value, list):
        return int(max(value, default=0))
    return int(value) if isinstance(value, int | float) else 0


def copy_metadata(
    reader: gguf.GGUFReader, writer: gguf.GGUFWriter, *, replace: dict[str, object] | None = None
) -> None:
    """Copy every key of a file with its stored type, except those in `replace`, which get the given value.

    Keys of `replace` that the source lacks are added: int as UINT32, float as FLOAT32, str as STRING. None drops a key.
    """
    replace = dict(replace or {})
    kinds = {int: gguf.GGUFValueType.UINT32, float: gguf.GGUFValueType.FLOAT32, str: gguf.GGUFValueType.STRING}
    for key, field in reader.fields.items():
        # The writer sets these itself.
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = replace.pop(key, field.contents())
        if value is not None:
            sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, value, field.types[0], sub_type=sub_type)
    for key, value in replace.items():
        if value is not None:
            writer.add_key_value(key, value, kinds[type(value)])


#: (name, shape slowest dimension first, dtype, function that makes the data)
TensorToWrite = tuple[str, tuple[int, ...], type[np.generic], Callable[[], NDArray[np.generic]]]


def write_tensors(path: Path, writer: gguf.GGUFWriter, tensors: list[TensorToWrite]) -> None:
    """Write a file with one tensor in memory at a time."""
    for name, shape, dtype, _ in tensors:
        n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        writer.add_tensor_info(name, list(shape), np.dtype(dtype), n_bytes)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, _, _, make in tensors:
        writer.write_tensor_data(make())
    writer.close()
