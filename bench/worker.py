"""The worker process: `python -m bench.worker`. It does one job and ends.

The job comes as JSON in a file; progress and the answer go back as JSON lines on a pipe of their own, since native code
writes what it likes to the standard streams. A crash here costs one measurement, never the sweep.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import BaseModel, TypeAdapter

from bench.errors import BenchError, MeasurementError
from bench.jobs import (
    ImportanceJob,
    ImportanceResult,
    Job,
    LibraryInfo,
    LibraryJob,
    MeasureJob,
    MeasureResult,
    QuantizeJob,
    QuantizeResult,
    TokenizeJob,
    TokenizeResult,
)
from bench.machine import peak_memory, pin

Progress = Callable[[float], None]


def _library(_job: LibraryJob, _progress: Progress) -> LibraryInfo:
    from bench.engine import library

    return library()


def _tokenize(job: TokenizeJob, _progress: Progress) -> TokenizeResult:
    from bench.engine import Model
    from bench.gguf_io import complete_or_absent
    from bench.measure import TokenStream
    from bench.prompts import fixed_set, from_file

    prompts = from_file(job.source) if isinstance(job.source, Path) else fixed_set(job.source)
    with Model(job.model, vocab_only=True) as model:
        tokens = model.tokenize(prompts.text)
        # Where a token's bytes end in the text tells which document it is of. Exact for byte-level vocabularies;
        # others may add a space at the start, which shifts nothing that matters.
        ends = np.cumsum([len(model.piece(int(t))) for t in tokens])
        documents = np.minimum(
            np.searchsorted([end for end, _ in prompts.kind_ends()], ends), len(prompts.documents) - 1
        )
        kind_of_document = np.array([prompts.kinds.index(d.kind) for d in prompts.documents])
        stream = TokenStream(tokens, kind_of_document[documents], prompts.kinds, model.bos)
    with complete_or_absent(job.out) as partial, partial.open("wb") as f:
        stream.save(f)
    return TokenizeResult(tokens=len(tokens))


def _importance(job: ImportanceJob, progress: Progress) -> ImportanceResult:
    from bench import imatrix
    from bench.measure import TokenStream

    started = time.perf_counter()
    tokens = TokenStream.load(job.stream).tokens
    chunks = len(tokens) // imatrix.CHUNK_TOKENS
    chunks = min(chunks, job.chunks) if job.chunks else chunks
    tokens = tokens[: max(chunks, 1) * imatrix.CHUNK_TOKENS]
    entries = imatrix.collect(job.model, tokens, threads=job.threads, progress=progress)
    imatrix.write(imatrix.ImportanceMatrix(entries, (job.dataset,), chunks, imatrix.CHUNK_TOKENS), job.out)
    return ImportanceResult(chunks=chunks, seconds=time.perf_counter() - started)


def _quantize(job: QuantizeJob, progress: Progress) -> QuantizeResult:
    from bench.build import build

    started = time.perf_counter()
    plan = build(job, progress)
    return QuantizeResult(
        types=plan.types, replaced=plan.replaced, seconds=time.perf_counter() - started, peak_memory_bytes=peak_memory()
    )


def _measure(job: MeasureJob, progress: Progress) -> MeasureResult:
    from bench.measure import measure

    return MeasureResult(library=_library(LibraryJob(), progress), windows=tuple(measure(job, progress)))


_HANDLERS: dict[str, Callable[..., BaseModel]] = {
    "library": _library,
    "tokenize": _tokenize,
    "importance": _importance,
    "quantize": _quantize,
    "measure": _measure,
}


def _end_with_parent() -> None:
    """End this process when the parent is gone, however it went: standard input is a pipe that the parent holds."""

    def wait() -> None:
        # not sys.stdin: the interpreter cannot end while a thread waits inside a buffered stream
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    _, job_file, pipe, cpus = sys.argv
    if cpus:
        pin([int(c) for c in cpus.split(",")])
    _end_with_parent()
    with os.fdopen(int(pipe), "w", buffering=1) as answers:

        def send(kind: str, value: object) -> None:
            answers.write(json.dumps({kind: value}) + "\n")

        job = TypeAdapter[Job](Job).validate_json(Path(job_file).read_bytes())
        try:
            result = _HANDLERS[job.kind](job, lambda share: send("progress", share))
            send("result", result.model_dump(mode="json"))
        except BenchError as e:
            send("error", {"text": str(e), "measurement": isinstance(e, MeasurementError)})


if __name__ == "__main__":
    main()
