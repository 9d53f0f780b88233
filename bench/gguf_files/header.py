"""The header of a GGUF file, read without its vocabulary and weights.

gguf.GGUFReader reads everything into arrays first, which takes seconds for a vocabulary of 50,000 and is needed only to
copy a model. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import hashlib
import math
import mmap
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import gguf

from bench.core.errors import BenchError
from bench.core.formats import in_one_line
from bench.gguf_files.limits import MAX_DIMENSIONS, check_metadata, check_tensor, check_vocabulary

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
#: Arrays of numbers up to this length are read (a value for each layer, say); longer ones and all strings are counted only.
_MAX_ARRAY = 4096


@dataclass(frozen=True)
class ArrayLength:
    """Stands for an array that was not read. of_text: of strings, and not of numbers."""

    length: int
    of_text: bool = False


@dataclass(frozen=True)
class HeaderTensor:
    """shape: columns first, as GGUF states it; start: where its data begin in the file."""

    name: str
    shape: tuple[int, ...]
    type: gguf.GGMLQuantizationType
    n_bytes: int
    start: int


@dataclass(frozen=True)
class Header:
    """metadata_end: where the keys and values end in the file and the list of tensors begins; alignment: of tensor data.

    keys: where each key with its value begins and ends in the file; vocabulary_sha256: of all keys that decide how text becomes tokens, as they stand in the file.
    """

    version: int
    metadata: dict[str, object]
    keys: dict[str, tuple[int, int]]
    tensors: tuple[HeaderTensor, ...]
    metadata_end: int
    alignment: int
    vocabulary_sha256: str


class _Cursor:
    def __init__(self, data: mmap.mmap | bytes) -> None:
        self.data, self.at = data, 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value  # type: ignore[no-any-return]

    def string(self) -> str:
        length = self.number("<Q")
        if self.at + length > len(self.data):
            raise struct.error("string beyond the end")
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8", "replace")

    def value(self, kind: int) -> object:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise struct.error(f"no value type {kind}")
        item, length = self.number("<I"), self.number("<Q")
        if item in _SCALARS:
            if length <= _MAX_ARRAY:
                return [self.number(_SCALARS[item]) for _ in range(length)]
            self.at += length * struct.calcsize(_SCALARS[item])
            return ArrayLength(length)
        if item != _STRING:
            raise struct.error("an array of arrays, which llama.cpp does not read")
        for _ in range(length):
            self.at += 8 + struct.unpack_from("<Q", self.data, self.at)[0]
        return ArrayLength(length, of_text=True)


def read_header(path: Path) -> Header:
    """Read and check a file's header. Raises BenchError that says what is wrong: missing, empty, not GGUF, cut short."""
    if not path.exists():
        raise BenchError(f"{path}: no such file; give the path of a .gguf model")
    if path.is_dir():
        raise BenchError(f"{path}: is a directory; name a .gguf file in it")
    try:
        with path.open("rb") as f:
            magic = f.read(4)
            size = path.stat().st_size
            if size == 0:
                raise BenchError(f"{path}: is empty; download or convert the model again")
            if magic != b"GGUF":
                raise BenchError(
                    f"{path}: is not a GGUF file (it starts with {magic!r}); convert the model to GGUF first"
                )
            with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
                header, end = _parse(_Cursor(data))
    except OSError as e:
        raise BenchError(f"{path}: cannot be read ({e.strerror}); check its permissions") from e
    except (struct.error, OverflowError) as e:
        raise BenchError(
            f"{path}: its header is damaged or cut short ({size:,} bytes); download or convert it again"
        ) from e
    except ValueError as e:
        raise BenchError(
            f"{path}: its header is damaged ({in_one_line(str(e))[:200]}); download or convert it again"
        ) from e
    if size < end:
        raise BenchError(
            f"{path}: is cut short: it has {size:,} bytes and its tensors end at {end:,}; download or convert it again"
        )
    return header


def _parse(cursor: _Cursor) -> tuple[Header, int]:
    """The header, and where the last tensor ends in the file."""
    cursor.at = 4
    version = cursor.number("<I")
    if version not in (2, 3):
        raise ValueError(f"GGUF version {version}")
    n_tensors, n_keys = cursor.number("<Q"), cursor.number("<Q")
    metadata: dict[str, object] = {}
    keys, deciding = {}, {}
    for _ in range(n_keys):
        start, key = cursor.at, cursor.string()
        if key in metadata:
            raise ValueError(f"the key {key!r:.80} comes twice")
        metadata[key] = cursor.value(cursor.number("<I"))
        keys[key] = (start, cursor.at)
        # llama.cpp looks at architecture and name too, to work around files whose vocabulary says too little
        if key.startswith("tokenizer.") or key in ("general.architecture", "general.name"):
            deciding[key] = cursor.data[start : cursor.at]
    vocabulary = hashlib.sha256(b"".join(deciding[key] for key in sorted(deciding)))
    metadata_end, tensors = cursor.at, []
    for _ in range(n_tensors):
        name = cursor.string()
        n_dimensions = cursor.number("<I")
        if n_dimensions > MAX_DIMENSIONS:
            raise ValueError(f"a tensor of {n_dimensions} dimensions")
        shape = tuple(cursor.number("<Q") for _ in range(n_dimensions))
        kind = gguf.GGMLQuantizationType(cursor.number("<I"))
        offset = cursor.number("<Q")
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        check_tensor(name, shape, block)
        n_weights = math.prod(shape)
        tensors.append(HeaderTensor(name, shape, kind, n_weights // block * block_bytes, offset))
    if len({t.name for t in tensors}) < len(tensors):
        raise ValueError("two tensors have the same name")
    check_metadata(metadata)
    check_vocabulary({key: _array(value) for key, value in metadata.items()})
    alignment = metadata.get("general.alignment", gguf.GGUF_DEFAULT_ALIGNMENT)
    assert isinstance(alignment, int)
    data = align(cursor.at, alignment)
    placed = tuple(replace(t, start=data + t.start) for t in tensors)
    header = Header(version, metadata, keys, placed, metadata_end, alignment, vocabulary.hexdigest())
    return header, max((t.start + t.n_bytes for t in placed), default=data)


def _array(value: object) -> tuple[int, bool] | None:
    """Length of an array, and whether it is of text; None for what is no array."""
    if isinstance(value, ArrayLength):
        return value.length, value.of_text
    return (len(value), False) if isinstance(value, list) else None


def first_keys(data: bytes) -> dict[str, object]:
    """The keys and values at the beginning of a file, as far as the bytes go; empty for what is no GGUF file.

    A vocabulary whose strings go on beyond them is counted all the same.
    """
    found: dict[str, object] = {}
    if data[:4] != b"GGUF":
        return found
    cursor = _Cursor(data)
    try:
        cursor.at = 16  # behind the version and the number of tensors
        for _ in range(cursor.number("<Q")):
            key, kind = cursor.string(), cursor.number("<I")
            if kind == _ARRAY:
                item, length = struct.unpack_from("<IQ", data, cursor.at)
                found[key] = ArrayLength(length, of_text=item == _STRING)
            found[key] = cursor.value(kind)
    except (struct.error, ValueError, OverflowError):  # cut off here, or damaged
        pass
    try:
        check_metadata(found)
    except ValueError:
        return {}
    return found


def align(position: int, alignment: int) -> int:
    """The next multiple of the alignment."""
    return (position + alignment - 1) // alignment * alignment


def tokens_sha256(path: Path) -> str:
    """Of the texts that tokens stand for: equal for models in whose vocabularies each token means the same."""
    tokens = read_strings(path, "tokenizer.ggml.tokens")
    return hashlib.sha256(b"".join(len(t).to_bytes(8, "little") + t for t in tokens)).hexdigest()


def read_strings(path: Path, key: str) -> list[bytes]:
    """An array of strings out of a file's keys, which read_header only counts. Empty where there is none."""
    header = read_header(path)
    found = header.metadata.get(key)
    if not (isinstance(found, ArrayLength) and found.of_text):
        return []
    start, end = header.keys[key]
    with path.open("rb") as f:
        f.seek(start)
        data = f.read(end - start)
    at = 8 + len(key.encode()) + 4  # the key's length, the key, the value's type
    _, length = struct.unpack_from("<IQ", data, at)
    at += 12
    strings = []
    for _ in range(length):
        (n,) = struct.unpack_from("<Q", data, at)
        strings.append(data[at + 8 : at + 8 + n])
        at += 8 + n
    return strings
