"""Exact widening of a `llama` model: zeros are added until every matrix has a multiple of 256 columns.

llama.cpp's 1-3 bit types store blocks of 256 columns; a narrower matrix is silently stored in another type, and a
recipe measured on such a model would not be what its name says. Zero columns change no product, so a widened model
computes the same function:

- the residual stream, the feed-forward width and the attention width are padded with zeros; heads are added as groups
  (the new query heads use the new key/value heads), so every old query head keeps its key/value head;
- an RMS norm over W' instead of W columns sees a mean square that is smaller by r = W/W'; with the norm's epsilon
  multiplied by r and its weights by sqrt(r) its output is the same:  x / sqrt(r m + r e) * sqrt(r) w = x / sqrt(m + e) * w;
- the length of a head, and with it the scale of attention and the rotary angles, stays and is stated explicitly.

With an importance matrix the added columns carry no weight, since no activation reaches them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.gguf_files.info import UNQUANTIZED, TensorToWrite, copy_metadata, open_gguf, write_tensors

_MULTIPLE = 256

#: Version of what this module writes; a new one when its output changes, so that no cache brings back the old.
WIDENING = 1

#: Which width each dimension of a tensor has, columns first: W residual stream, Q all query heads, K and V all
#: key/value heads, F feed-forward, "-" left alone. Keys are tensor names without `blk.N.` and `.weight`.
_ROLES = {
    "token_embd": "W-",
    "output": "W-",
    "output_norm": "W",
    "attn_norm": "W",
    "ffn_norm": "W",
    "rope_freqs": "-",
    "attn_q": "WQ",
    "attn_k": "WK",
    "attn_v": "WV",
    "attn_output": "QW",
    "ffn_gate": "WF",
    "ffn_up": "WF",
    "ffn_down": "FW",
    "ffn_gate_inp": "W-",
    "ffn_gate_exps": "WF-",
    "ffn_up_exps": "WF-",
    "ffn_down_exps": "FW-",
}
_BIAS_ROLES = {
    "attn_q": "Q",
    "attn_k": "K",
    "attn_v": "V",
    "attn_output": "W",
    "ffn_gate": "F",
    "ffn_up": "F",
    "ffn_down": "W",
}


@dataclass(frozen=True)
class Widths:
    """The widths of a `llama` model, in columns; heads in numbers."""

    embedding: int
    feed_forward: int
    heads: int
    kv_heads: int
    key_length: int
    value_length: int

    def of(self, role: str) -> int:
        return {
            "W": self.embedding,
            "F": self.feed_forward,
            "Q": self.heads * self.key_length,
            "K": self.kv_heads * self.key_length,
            "V": self.kv_heads * self.value_length,
        }[role]

    def widened(self) -> Widths:
        """The smallest widths that are multiples of 256, with the same number of query heads for each key/value head."""
        group = self.heads // self.kv_heads
        kv_heads = self.kv_heads
        while group * kv_heads * self.value_length % _MULTIPLE:
            kv_heads += 1
        return Widths(
            _round_up(self.embedding),
            _round_up(self.feed_forward),
            group * kv_heads,
            kv_heads,
            self.key_length,
            self.value_length,
        )


def _round_up(width: int) -> int:
    return math.ceil(width / _MULTIPLE) * _MULTIPLE


def read_widths(source: Path, reader: gguf.GGUFReader) -> Widths:
    architecture = reader.get_field("general.architecture")
    if architecture is None or architecture.contents() != "llama":
        raise BenchError(
            f"{source}: cannot widen architecture {architecture and architecture.contents()}; only llama is supported"
        )

    def number(key: str, default: int | None = None) -> int:
        field = reader.get_field(f"llama.{key}")
        value = field.contents() if field else default
        if not isinstance(value, int):
            raise BenchError(
                f"{source}: cannot widen: llama.{key} is {'missing' if value is None else 'not one number'}; use a model whose layers are alike"
            )
        return value

    embedding, heads = number("embedding_length"), number("attention.head_count")
    length = embedding // heads
    return Widths(
        embedding,
        number("feed_forward_length"),
        heads,
        number("attention.head_count_kv", heads),
        number("attention.key_length", length),
        number("attention.value_length", length),
    )


def needs_widening(source: Path) -> bool:
    """Whether a `llama` model has widths that are no multiple of 256. Raises BenchError for another architecture."""
    widths = read_widths(source, open_gguf(source))
    return widths != widths.widened()


def widen(source: Path, target: Path, *, description: str, name: str | None = None) -> None:
    """Write `source`, dequantized to F16 and widened to multiples of 256, as `target`.

    Norms and other vectors are F32. The description is put into the file's metadata before a sentence that states the
    widening; name replaces the model's own. Raises BenchError for another architecture than `llama` and for tensors it does not know.
    """
    reader = open_gguf(source)
    old = read_widths(source, reader)
    new = old.widened()
    ratio = old.embedding / new.embedding
    epsilon = reader.get_field("llama.attention.layer_norm_rms_epsilon")
    if epsilon is None:
        raise BenchError(f"{source}: cannot widen: the norm's epsilon is missing from its metadata")
    rope = reader.get_field("llama.rope.dimension_count")
    statement = (
        f"Widened exactly with zeros: width {old.embedding} to {new.embedding}, feed-forward {old.feed_forward} to {new.feed_forward}, "
        f"heads {old.heads}/{old.kv_heads} to {new.heads}/{new.kv_heads} of {old.key_length}; norm weights times "
        f"sqrt({old.embedding}/{new.embedding}), norm epsilon times {old.embedding}/{new.embedding}. Matrices are stored in F16."
    )
    writer = gguf.GGUFWriter(None, "llama")
    copy_metadata(
        reader,
        writer,
        replace={
            **({"general.name": name} if name else {}),
            "general.description": f"{_dequantized(description, reader)} {statement}".strip(),
            "general.file_type": int(gguf.LlamaFileType.MOSTLY_F16),
            "llama.embedding_length": new.embedding,
            "llama.feed_forward_length": new.feed_forward,
            "llama.attention.head_count": new.heads,
            "llama.attention.head_count_kv": new.kv_heads,
            "llama.attention.key_length": new.key_length,
            "llama.attention.value_length": new.value_length,
            "llama.rope.dimension_count": rope.contents() if rope else new.key_length,
            "llama.attention.layer_norm_rms_epsilon": float(epsilon.contents()) * ratio,
        },
    )
    tensors: list[TensorToWrite] = []
    for tensor in reader.tensors:
        roles = _roles(source, tensor.name)
        shape = tuple(new.of(r) if r != "-" else int(n) for n, r in zip(tensor.shape, roles, strict=True))[::-1]
        dtype: type[np.generic] = np.float16 if len(shape) > 1 else np.float32
        scale = math.sqrt(ratio) if tensor.name.endswith("norm.weight") else 1.0

        tensors.append((tensor.name, shape, dtype, partial(_padded, tensor, shape, dtype, scale)))
    with complete_or_absent(target) as path:
        write_tensors(path, writer, tensors)


def _dequantized(description: str, reader: gguf.GGUFReader) -> str:
    """The description with the quantized types that the source is stored in: records tell by it what a run's reference
    cannot judge (records/resolution.py)."""
    types = sorted({t.tensor_type.name for t in reader.tensors} - UNQUANTIZED)
    if not types:
        return description
    told = f"equantized from {' and '.join(types)} to F16."
    return f"{description.rstrip('. ')}, d{told}" if description else f"D{told}"


def _padded(
    tensor: gguf.ReaderTensor, shape: tuple[int, ...], dtype: type[np.generic], scale: float
) -> NDArray[np.generic]:
    """A tensor's values times scale, in the corner of a zero array of the new shape (slowest dimension first)."""
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(tuple(tensor.shape)[::-1])
    padded: NDArray[np.generic] = np.zeros(shape, dtype)
    with np.errstate(over="ignore"):  # told below, with the tensor's name
        padded[tuple(slice(n) for n in values.shape)] = values * np.float32(scale)
    if not np.isfinite(padded).all():
        raise BenchError(f"cannot widen: {tensor.name} holds values that F16 cannot hold; use the model as it is")
    return padded


def _roles(source: Path, name: str) -> str:
    stem, _, suffix = (name.split(".", 2)[2] if name.startswith("blk.") else name).rpartition(".")
    roles = (_ROLES if suffix == "weight" else _BIAS_ROLES if suffix == "bias" else {}).get(stem)
    if roles is None:
        raise BenchError(
            f"{source}: cannot widen: tensor {name} is not one that this program knows of the llama architecture"
        )
    return roles
