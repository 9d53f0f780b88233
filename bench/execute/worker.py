"""The server of workers, `python -m bench.execute.worker`, and the workers: each does one job and ends.

The server imports what jobs need and then forks for every job, so that a fresh process costs milliseconds. llama.cpp is
loaded and initialized in it, which starts no thread; it computes nothing itself, which is what makes the fork safe. (Where forking is not safe at
all, it does one job itself and ends.) A job comes as JSON in a file; progress and the answer go back as JSON lines on a
pipe of their own, since native code writes what it likes to the standard streams. A crash costs one job, never the sweep.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
from pydantic import BaseModel, TypeAdapter

from bench.core.errors import BenchError, MeasurementError
from bench.core.machine import peak_memory, pin
from bench.execute.jobs import (
    ImportanceJob,
    ImportanceResult,
    Job,
    LibraryInfo,
    LibraryJob,
    MeasureJob,
    MeasureResult,
    MemoryJob,
    PlanJob,
    PlanResult,
    ProbeJob,
    ProbeResult,
    PropagationJob,
    PropagationResult,
    QuantizeJob,
    QuantizeResult,
    SearchJob,
    SearchResult,
    TokenizeJob,
    TokenizeResult,
    WeightErrorJob,
    WeightErrorResult,
)
from bench.measures.problems.jobs import EncodeJob, EncodeResult, SampleJob, SampleResult, SolveJob, SolveResult

Progress = Callable[[float], None]


def _library(_job: LibraryJob, _progress: Progress) -> LibraryInfo:
    from bench.engine.llama import library

    return library()


def _tokenize(job: TokenizeJob, _progress: Progress) -> TokenizeResult:
    from bench.engine.llama import Model
    from bench.gguf_files.info import complete_or_absent
    from bench.measures.windows.score import TokenStream
    from bench.texts.prompts import fixed_set, from_file

    prompts = from_file(job.source) if isinstance(job.source, Path) else fixed_set(job.source)
    with Model(job.model, vocab_only=True) as model:
        tokens = model.tokenize(prompts.text)
        documents = np.zeros(len(tokens), np.int64)
        if len(prompts.documents) > 1:
            # Where a token's bytes end in the text tells which document it is of. Exact for byte-level vocabularies;
            # others may add a space at the start, which shifts nothing that matters.
            ends = np.cumsum([len(model.piece(int(t))) for t in tokens])
            documents = np.searchsorted([end for end, _ in prompts.kind_ends()], ends)
            documents = np.minimum(documents, len(prompts.documents) - 1)
        kind_of_document = np.array([prompts.kinds.index(d.kind) for d in prompts.documents])
        stream = TokenStream(tokens, kind_of_document[documents], prompts.kinds, model.bos)
    with complete_or_absent(job.out) as partial, partial.open("wb") as f:
        stream.save(f)
    return TokenizeResult(tokens=len(tokens))


def _importance(job: ImportanceJob, progress: Progress) -> ImportanceResult:
    from bench.measures.windows.score import TokenStream
    from bench.quantize import imatrix

    started = time.perf_counter()
    tokens = TokenStream.load(job.stream).tokens
    chunks = len(tokens) // imatrix.CHUNK_TOKENS
    chunks = min(chunks, job.chunks) if job.chunks else chunks
    tokens = tokens[: max(chunks, 1) * imatrix.CHUNK_TOKENS]
    entries = imatrix.collect(job.model, tokens, threads=job.threads, progress=progress)
    imatrix.write(imatrix.ImportanceMatrix(entries, (job.dataset,), chunks, imatrix.CHUNK_TOKENS), job.out)
    return ImportanceResult(chunks=chunks, seconds=time.perf_counter() - started)


def _plan(job: PlanJob, _progress: Progress) -> PlanResult:
    from bench.quantize.build import planned_file

    return planned_file(job)


def _quantize(job: QuantizeJob, progress: Progress) -> QuantizeResult:
    from bench.quantize.build import build

    started = time.perf_counter()
    plan, damaged = build(job, progress)
    return QuantizeResult(
        types=plan.types,
        replaced=plan.replaced,
        damaged=damaged,
        seconds=time.perf_counter() - started,
        peak_memory_bytes=peak_memory(),
    )


def _measure(job: MeasureJob, progress: Progress) -> MeasureResult:
    from bench.measures.windows.score import measure

    return MeasureResult(library=_library(LibraryJob(), progress), windows=tuple(measure(job, progress)))


def _propagation(job: PropagationJob, _progress: Progress) -> PropagationResult:
    from bench.measures.propagation.compute import propagate

    return propagate(job)


def _weight_error(job: WeightErrorJob, progress: Progress) -> WeightErrorResult:
    from bench.quantize.weight_error import weight_errors

    return weight_errors(job, progress)


def _probe(job: ProbeJob, progress: Progress) -> ProbeResult:
    from bench.choose.probe import probe

    return probe(job, progress)


def _encode(job: EncodeJob, _progress: Progress) -> EncodeResult:
    from bench.measures.problems.encode import encode

    return encode(job)


def _solve(job: SolveJob, progress: Progress) -> SolveResult:
    from bench.measures.problems.solve import solve

    return solve(job, progress)


def _sample(job: SampleJob, progress: Progress) -> SampleResult:
    from bench.measures.problems.solve import sample

    return sample(job, progress)


def _memory(job: MemoryJob, _progress: Progress) -> BaseModel:
    from bench.engine.memory import reserved_buffers

    return reserved_buffers(job.model, window=job.window, ubatch=job.ubatch)


def _search(job: SearchJob, progress: Progress) -> SearchResult:
    from bench.choose.search import search

    return search(job, progress)


_HANDLERS: dict[str, Callable[..., BaseModel]] = {
    "library": _library,
    "tokenize": _tokenize,
    "importance": _importance,
    "plan": _plan,
    "quantize": _quantize,
    "measure": _measure,
    "propagation": _propagation,
    "weight-error": _weight_error,
    "probe": _probe,
    "search": _search,
    "encode": _encode,
    "solve": _solve,
    "sample": _sample,
    "memory": _memory,
}


#: What the server imports before it forks for a kind of job.
_IMPORTS = {
    "quantize": ("bench.quantize.build",),
    "importance": ("bench.quantize.imatrix",),
    "measure": ("bench.measures.windows.score",),
    "propagation": ("bench.measures.propagation.compute",),
    "weight-error": ("bench.quantize.weight_error",),
    "probe": ("bench.choose.probe",),
    "search": ("bench.choose.search",),
    "solve": ("bench.measures.problems.solve",),
    "sample": ("bench.measures.problems.solve",),
}
#: macOS's own libraries do not survive a fork.
_FORKS = sys.platform == "linux"


def _end_with_parent() -> None:
    """End this process when the parent is gone, however it went: standard input is a pipe that the parent holds."""

    def wait() -> None:
        # not sys.stdin: the interpreter cannot end while a thread waits inside a buffered stream
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _do(job: Job, answers: int, cpus: list[int] | None) -> None:
    """Do a job and answer."""
    if cpus:
        pin(cpus)
    _end_with_parent()
    with os.fdopen(answers, "w", buffering=1) as pipe:

        def send(kind: str, value: object) -> None:
            pipe.write(json.dumps({kind: value}) + "\n")

        try:
            result = _HANDLERS[job.kind](job, lambda share: send("progress", share))
            send("result", result.model_dump(mode="json"))
        except BenchError as e:
            send("error", {"text": str(e), "measurement": isinstance(e, MeasurementError)})


def _work(job: Job, answers: int, log: int, cpus: list[int] | None) -> NoReturn:
    """A worker, from its first step to its last."""
    code = 1
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        _do(job, answers, cpus)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # without the exit handlers, which belong to the server


def main() -> None:
    """Serve jobs from the socket whose descriptor is the argument, until its other end is closed."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    importlib.import_module(
        "bench.measures.windows.score"
    )  # while the parent gets ready; nearly every job needs most of it
    while True:
        message, (*descriptors,), _, _ = socket.recv_fds(requests, 65536, 2)
        if not message:
            return
        answers, log = descriptors
        request = json.loads(message)
        job = TypeAdapter[Job](Job).validate_json(Path(request["job"]).read_bytes())
        for module in (
            *_IMPORTS.get(job.kind, ()),
            *(["bench.measures.windows.timing"] if job.kind == "measure" and job.timed else []),
        ):
            importlib.import_module(module)
        pid = os.fork() if _FORKS else os.getpid()
        if pid == 0:
            requests.close()
            _work(job, answers, log, request["cpus"])
        requests.sendall(json.dumps({"pid": pid}).encode() + b"\n")
        if not _FORKS:
            _work(job, answers, log, request["cpus"])
        os.close(answers)
        os.close(log)
        _, status = os.waitpid(pid, 0)
        requests.sendall(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


if __name__ == "__main__":
    main()
