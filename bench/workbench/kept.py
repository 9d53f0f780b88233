"""What a run needs and keeps in the cache: token streams, importance matrices, quantized files.

Each is named by a hash of everything it depends on, made in a worker process, and there only when complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.core.files import complete_or_absent, file_sha256, short_hash
from bench.engine.jobs import TokenizeResult
from bench.execute.content import Content
from bench.execute.job import Executor
from bench.gguf_files.info import ModelInfo
from bench.quantize.imatrix import check_fits
from bench.quantize.jobs import QuantizeResult

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
    """A tokenized text. key: names all that it depends on; tokens: how many it has; content: see texts.stream.TokenStream."""

    name: str
    key: str
    tokens: int = 0

    @property
    def content(self) -> Content:
        return Content(name=f"tokens/{self.key}.npz")


def read_count(path: Path) -> int | None:
    """The number of tokens of a stream that is kept at `path`; None where there is none."""
    try:
        count = TokenizeResult.model_validate_json(path.with_suffix(".json").read_bytes()).tokens
        return count if path.is_file() else None
    except (OSError, ValidationError):
        return None  # not tokenized yet


def write_count(path: Path, result: TokenizeResult) -> None:
    with complete_or_absent(path.with_suffix(".json")) as partial:
        partial.write_text(result.model_dump_json(), encoding="utf-8")


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


class Built(BaseModel):
    """A quantized file as it was built.

    n_bytes, modified_ns: of the file, which is built again when they are others.
    """

    model_config = ConfigDict(frozen=True)

    path: Path
    sha256: str
    n_bytes: int
    modified_ns: int
    bits_per_weight: float
    weights_by_type: dict[str, int]
    importance_sha256: str | None
    result: QuantizeResult

    def write_note(self) -> None:
        """Note beside the file how it was built. What happened meanwhile is not told again."""
        told = self.model_copy(update={"result": self.result.model_copy(update={"damaged": ()})})
        with complete_or_absent(self.path.with_suffix(".json")) as partial:
            partial.write_text(told.model_dump_json(), encoding="utf-8")

    @classmethod
    def noted(cls, path: Path) -> Self | None:
        """What the note beside a file says, if the file is still there as it was built."""
        try:
            built = cls.model_validate_json(path.with_suffix(".json").read_bytes())
            stat = built.path.stat()
            return built if (stat.st_size, stat.st_mtime_ns) == (built.n_bytes, built.modified_ns) else None
        except (OSError, ValidationError):
            return None  # not built yet, or by another version of this program
