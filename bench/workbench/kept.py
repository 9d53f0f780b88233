"""Inputs of a run that are kept in the cache: token streams, importance matrices, quantized files.

Each is named by a hash of everything it depends on, made in a worker process, and present only when complete. A note beside it
holds its checksum (core/checked.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.core.checked import FileNote, Progress, Tell, kept_file, note_of, write_checked
from bench.core.files import file_sha256, short_hash
from bench.execute.content import Content
from bench.execute.job import Executor
from bench.gguf_files.info import ModelInfo
from bench.quantize.imatrix_file import check_fits
from bench.quantize.jobs import QuantizeResult
from bench.texts.prompts import Part

#: Part of every key: raise it when the code that makes what is cached changes what it makes.
_CACHE = 1
#: Part of the key of a quantized file: raise it when the same model, recipe, importance matrix and engine give a file of other
#: bytes (its keys, the order of its tensors, their padding, what a rule applies to), and say so in the changelog. Blocks and
#: matrices stay valid. 1: written by llama_model_quantize, in llama.cpp's order. 2: assembled, in the model's order.
FILES = 2


def key(*parts: object) -> str:
    """A short name for all that something in the cache depends on."""
    return short_hash(_CACHE, *parts)


@dataclass(frozen=True)
class Stream:
    """A tokenized text. key: names all that it depends on; source: the text, None where there is none (traces); tokens: how many it has; content: see texts.stream.TokenStream."""

    name: str
    key: str
    source: Content | Part | None
    tokens: int = 0

    @property
    def content(self) -> Content:
        return Content(name=f"tokens/{self.key}.npz")


class StreamNote(FileNote):
    """Of a stream that is kept. tokens: how many it has."""

    tokens: int


def read_count(path: Path, tell: Tell) -> int | None:
    """The number of tokens of a stream that is kept at `path`; None where there is none as it was kept."""
    note = kept_file(path, StreamNote, tell)
    return note.tokens if note else None


def write_count(path: Path, tokens: int) -> None:
    write_checked(note_of(path), StreamNote(sha256=file_sha256(path), tokens=tokens))


@dataclass(frozen=True)
class Matrix:
    """An importance matrix as a file. sha256: of its bytes."""

    path: Path
    content: Content
    sha256: str

    @classmethod
    def of_file(cls, path: Path, model: ModelInfo, executor: Executor) -> Self:
        """A matrix of the user's. Raises BenchError where there is none, and for one of another model than this."""
        check_fits(path, model)
        digest = file_sha256(path)
        return cls(path, executor.hold(path, digest), digest)


class Built(FileNote):
    """A quantized file as it was built, which its note says; it is built again when its checksum is another.

    path: where it was found, beside its note, whatever that says.
    """

    path: Path
    n_bytes: int
    bits_per_weight: float
    weights_by_type: dict[str, int]
    importance_sha256: str | None
    result: QuantizeResult

    def write_note(self) -> None:
        """Note beside the file how it was built. What happened meanwhile is not told again."""
        told = self.model_copy(update={"result": self.result.model_copy(update={"damaged": ()})})
        write_checked(note_of(self.path), told)

    @classmethod
    def noted(cls, path: Path, tell: Tell, progress: Progress = lambda share: None) -> Self | None:
        """What the note beside a file says, if the file is still there as it was built."""
        built = kept_file(path, cls, tell, progress)
        return built.model_copy(update={"path": path}) if built else None
