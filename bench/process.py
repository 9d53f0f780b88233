"""Running a job in a worker process of its own, from the parent's side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from bench.errors import BenchError, MeasurementError

Result = TypeVar("Result", bound=BaseModel)


def run_job(
    job: BaseModel,
    result_type: type[Result],
    *,
    cpus: list[int] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Result:
    """Do a job in a fresh process, pinned to `cpus`; this process sleeps on a pipe meanwhile.

    Raises what the worker raised (BenchError, MeasurementError), and MeasurementError with the signal or exit code
    when the worker died.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        job_file, log_file = Path(directory, "job.json"), Path(directory, "log.txt")
        job_file.write_text(job.model_dump_json(), encoding="utf-8")
        read_end, write_end = os.pipe()
        command = [sys.executable, "-m", "bench.worker", str(job_file), str(write_end), ",".join(map(str, cpus or []))]
        with log_file.open("wb") as log:
            worker = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[write_end],
                # In a session of its own: Ctrl-C is for the parent, which then ends the worker.
                start_new_session=True,
                env=os.environ | {"GGML_NO_BACKTRACE": "1"},
            )
        os.close(write_end)
        answer: dict[str, object] = {}
        try:
            with os.fdopen(read_end) as answers:
                for line in answers:
                    if not line.endswith("\n"):
                        break  # the worker died while it wrote this
                    message = json.loads(line)
                    if "progress" in message:
                        if progress:
                            progress(message["progress"])
                    else:
                        answer = message
            code = worker.wait()
        finally:
            worker.kill()
            worker.wait()
            if worker.stdin:
                worker.stdin.close()
        if "result" in answer:
            return result_type.model_validate(answer["result"])
        if isinstance(error := answer.get("error"), dict):
            raise (MeasurementError if error["measurement"] else BenchError)(error["text"])
        raise MeasurementError(f"the worker process {_ending(code)}{_last_words(log_file)}")


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code} and no result"
    name = signal.Signals(-code).name if -code in {s.value for s in signal.Signals} else f"signal {-code}"
    why = {
        "SIGKILL": " (out of memory?)",
        "SIGILL": " (the engine was built for another CPU; BENCH_ISA=native builds it for this one)",
    }
    return f"was ended by {name}{why.get(name, '')}"


def _last_words(log_file: Path) -> str:
    lines = [
        line.strip() for line in log_file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
    ]
    return f": {lines[-1][:300]}" if lines else ""
