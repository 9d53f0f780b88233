"""What a run needs and keeps in the cache: token streams, importance matrices, quantized files.

Each is named by a hash of everything it depends on, made in a worker process, and there only when complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.execute.jobs import (
    ImportanceJob,
    ImportanceResult,
    LibraryInfo,
    QuantizeJob,
    QuantizeResult,
    TokenizeJob,
    TokenizeResult,
)
from bench.execute.local import run_job
from bench.gguf_files.info import ModelInfo, complete_or_absent, file_sha256, inspect
from bench.models.reference import Reference
from bench.recipes.recipe import Recipe
from bench.texts import prompts

Share = Callable[[float], None]


#: Part of every key: raise it when the code that makes what is cached changes what it makes.
_CACHE = 1


def short_hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _key(*parts: object) -> str:
    return short_hash(_CACHE, *parts)


@dataclass(frozen=True)
class Stream:
    """A tokenized text: where it is kept (see measure.TokenStream) and its number of tokens."""

    name: str
    path: Path
    tokens: int


def token_stream(model: ModelInfo, source: Path | str, cache: Path) -> Stream:
    """Tokens of a part of the prompt set or a text file, under the model's vocabulary."""
    name, digest = prompts.identify(source)
    path = cache / "tokens" / f"{_key(model.vocabulary_sha256, digest, version('llama-cpp-python'))}.npz"
    count = path.with_suffix(".json")
    try:
        result = TokenizeResult.model_validate_json(count.read_bytes())
        if path.is_file():
            return Stream(name, path, result.tokens)
    except (OSError, ValidationError):
        pass  # not tokenized yet
    asked = source.absolute() if isinstance(source, Path) else source
    result = run_job(TokenizeJob(model=model.path, source=asked, out=path), TokenizeResult)  # type: ignore[arg-type]
    with complete_or_absent(count) as partial:
        partial.write_text(result.model_dump_json(), encoding="utf-8")
    return Stream(name, path, result.tokens)


def importance_file_hash(path: Path) -> str:
    if not path.is_file():
        raise BenchError(f"{path}: no such importance matrix; leave --imatrix out to compute one")
    return file_sha256(path)


def importance(
    reference: Reference,
    calibration: Stream,
    chunks: int,
    library: LibraryInfo,
    cache: Path,
    threads: int,
    cpus: list[int],
    share: Share,
) -> Path:
    """The importance matrix of a model over a calibration text."""
    path = (
        cache
        / "imatrix"
        / f"{reference.path.stem}-{_key(reference.sha256, calibration.path.stem, chunks, library.binding, library.isa)}.gguf"
    )
    if not path.exists():
        job = ImportanceJob(
            model=reference.path,
            stream=calibration.path,
            dataset=calibration.name,
            chunks=chunks,
            threads=threads,
            out=path,
        )
        run_job(job, ImportanceResult, cpus=cpus, progress=share)
    return path


def blocks_origin(reference: Reference, matrix_sha256: str | None, library: LibraryInfo) -> str:
    """Names what quantized blocks depend on, beside tensor and type."""
    return _key(reference.sha256, matrix_sha256, library.binding, library.isa)


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


def quantized(
    reference: Reference,
    recipe: Recipe,
    importance: Path | None,
    cache: Path,
    library: LibraryInfo,
    threads: int,
    cpus: list[int],
    share: Share,
) -> Built:
    """A recipe's file. The cache's key holds all that its content depends on: model, recipe, importance, library."""
    assert recipe.size is None, f"{recipe.name}: its choices are to be made before it is built (choose.py)"
    importance = None if recipe.plain else importance
    matrix = file_sha256(importance) if importance else None
    origin = blocks_origin(reference, matrix, library)
    path = cache / "quantized" / f"{reference.path.stem}-{recipe.name}-{_key(origin, recipe.fingerprint)}.gguf"
    if (found := _built(path.with_suffix(".json"))) is not None:
        return found
    job = QuantizeJob(
        model=reference.path,
        recipe=recipe,
        importance=importance and importance.absolute(),
        threads=threads,
        out=path,
        blocks=cache.absolute() / "blocks",
        origin=origin,
    )
    result = run_job(job, QuantizeResult, cpus=cpus, progress=share)
    info = inspect(path)
    built = Built(
        path=path,
        sha256=file_sha256(path),
        n_bytes=info.n_bytes,
        modified_ns=path.stat().st_mtime_ns,
        bits_per_weight=info.bits_per_weight,
        weights_by_type=info.weights_by_type,
        importance_sha256=matrix,
        result=result,
    )
    with complete_or_absent(path.with_suffix(".json")) as partial:
        # what happened while it was built is not told again
        told = built.model_copy(update={"result": result.model_copy(update={"damaged": ()})})
        partial.write_text(told.model_dump_json(), encoding="utf-8")
    return built


def tell_damaged(built: Built, reporter: Reporter) -> None:
    for tensor in built.result.damaged:
        reporter.warn(f"{tensor}: its quantized data in the cache were damaged and have been made anew")


def _built(note: Path) -> Built | None:
    """What a note in the cache says of a file that is still there as it was built."""
    try:
        built = Built.model_validate_json(note.read_bytes())
        stat = built.path.stat()
        return built if (stat.st_size, stat.st_mtime_ns) == (built.n_bytes, built.modified_ns) else None
    except (OSError, ValidationError):
        return None  # not built yet, or by another version of this program
