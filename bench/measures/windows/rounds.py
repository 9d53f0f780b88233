"""The timed rounds of a run in pytest-benchmark's own format, for its commands and for `bench check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.measures.windows.records import WindowRecord
from bench.measures.windows.runs import windows_of
from bench.measures.windows.tables import NO_SPEEDS
from bench.records.run import Run
from bench.records.store import newest_time

#: Where a run's rounds stand in pytest-benchmark's format, beside its records.
BENCHMARK_FILE = "benchmark.json"

_TIMES = {"window": "seconds", "generation": "generate_seconds"}


def benchmark_json(run: Run) -> dict[str, Any]:
    """The run's rounds as pytest-benchmark stores its own: a benchmark for every file and kind of time, a round a window.

    Statistics are pytest-benchmark's. extra_info says which window and sitting every round is of. The date is that of the last
    record, so that the same records give the same file.
    """
    import pytest_benchmark
    from pytest_benchmark import stats as timing

    i, versions = run.identity, run.header.versions
    new_statistics: Any = timing.Stats
    benchmarks = []
    for kind, field in _TIMES.items():
        for name, by_window in windows_of(run).by_file.items():
            rounds = [r for r in by_window.values() if getattr(r.result, field) is not None]
            if not rounds:
                continue
            measured = new_statistics()
            for r in rounds:
                measured.update(getattr(r.result, field))
            benchmarks.append(
                {
                    "group": kind,
                    "name": f"{kind}[{name}]",
                    "fullname": f"bench/measures/windows/timed_suite.py::{kind}[{name}]",
                    "params": {"recipe": name},
                    "param": name,
                    "extra_info": {
                        "recipe": name,
                        "sha256": run.files[name].sha256,
                        "windows": [r.result.window for r in rounds],
                        "sittings": [r.sitting for r in rounds],
                        "disturbed": [
                            r.result.activity.disturbed(i.settings.threads) for r in rounds if r.result.activity
                        ],
                    },
                    "options": {"disable_gc": True, "timer": "perf_counter", "warmup": False},
                    "stats": measured.as_dict() | {"data": measured.data, "iterations": 1},
                }
            )
    commit, _, changed = versions.get("commit", "").partition("-")
    python = {"python_version": versions.get("python", ""), "python_implementation": "CPython"}
    return {
        "machine_info": {
            "node": "",  # records name no host
            "machine": i.machine.architecture,
            "system": i.machine.system.split()[0],
            **python,
            "cpu": {"brand_raw": i.machine.cpu, "count": i.machine.logical_cpus},
        },
        "commit_info": {"id": commit or "unversioned", "project": "dynamicgate-bench", "dirty": changed == "dirty"},
        "benchmarks": benchmarks,
        "datetime": newest_time(run.records) or run.header.started,
        "version": pytest_benchmark.__version__,
        "run": {"id": run.header.id, "identity": i.model_dump(mode="json"), "versions": versions},
    }


def write_benchmark_json(run: Run, out: Path) -> None:
    """Write benchmark_json. Raises BenchError when the run has no rounds or the file cannot be written."""
    if not run.identity.speeds:
        raise BenchError(f"--benchmark-json: has nothing to write. {NO_SPEEDS}; make a run without that option")
    found = benchmark_json(run)
    if not found["benchmarks"]:
        raise BenchError("--benchmark-json: this run has no timed window yet; run it first")
    with complete_or_absent(out) as partial:
        partial.write_text(json.dumps(found, indent=4) + "\n", encoding="utf-8")


def read_rounds(path: Path, run: Run) -> Run:
    """The run with its times as a file of write_benchmark_json has them: its files, and a window record for every round.

    Raises BenchError for a file that is none of these, is of another run, or lacks rounds of the run's records.
    """
    if not run.identity.speeds:
        raise BenchError(f"{path}: does not belong to this run. {NO_SPEEDS}; leave the file out")
    again = f"write it again with `bench export RUN --benchmark-json {path}`"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["run"]["id"] != run.header.id:
            raise BenchError(f"{path}: has the rounds of run {data['run']['id']}, not of {run.header.id}; {again}")
        times: dict[tuple[str, int], dict[str, float]] = {}
        sittings: dict[tuple[str, int], str] = {}
        for benchmark in data["benchmarks"]:
            info, field = benchmark["extra_info"], _TIMES[benchmark["group"]]
            if info["recipe"] in run.files and run.files[info["recipe"]].sha256 == info["sha256"]:
                rounds = zip(info["windows"], info["sittings"], benchmark["stats"]["data"], strict=True)
                for window, sitting, seconds in rounds:
                    times.setdefault((info["recipe"], window), {})[field] = float(seconds)
                    sittings[info["recipe"], window] = sitting
    except OSError as e:
        raise BenchError(f"{path}: cannot be read ({e.strerror}); {again}") from e
    except (ValueError, KeyError, TypeError) as e:
        raise BenchError(f"{path}: is not a file of `bench export --benchmark-json` ({e!r}); {again}") from e
    records: list[WindowRecord] = []
    for name, by_window in windows_of(run).by_file.items():
        for window, record in by_window.items():
            if "seconds" not in (found := times.get((name, window), {})):
                raise BenchError(f"{path}: lacks {name}'s round of window {window}, which is on record since; {again}")
            result = record.result.model_copy(update={"generate_seconds": None, **found})
            records.append(record.model_copy(update={"result": result, "sitting": sittings[name, window]}))
    return Run(run.header, (*run.files.values(), *records))
