"""Measure the costs and benefits of GGUF quantizations: perplexity, size and CPU speed.

As a library (docs/library.md): run makes a run, load_run reads one, compare_runs compares two, score scores a file, resolve_recipe
gives the types of a recipe, imatrix_statistics tells what an importance matrix holds, make_traces has a model write what files are scored on.
Each is imported when it is first used, so that `import bench` costs nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.api.importance import imatrix_statistics
    from bench.api.make import make_traces, resolve_recipe, run, score
    from bench.api.runs import RunFrames, compare_runs, load_run
    from bench.api.scores import Score
    from bench.core.errors import BenchError
    from bench.statistics.estimates import Estimate

    __version__: str

__all__ = [
    "BenchError",
    "Estimate",
    "RunFrames",
    "Score",
    "__version__",
    "compare_runs",
    "imatrix_statistics",
    "load_run",
    "make_traces",
    "resolve_recipe",
    "run",
    "score",
]

_MODULES = {
    "BenchError": "bench.core.errors",
    "Estimate": "bench.statistics.estimates",
    "RunFrames": "bench.api.runs",
    "Score": "bench.api.scores",
    "compare_runs": "bench.api.runs",
    "imatrix_statistics": "bench.api.importance",
    "load_run": "bench.api.runs",
    "make_traces": "bench.api.make",
    "resolve_recipe": "bench.api.make",
    "run": "bench.api.make",
    "score": "bench.api.make",
}


if not TYPE_CHECKING:  # a checker would take any name of a module that has this

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name == "__version__":
            found = import_module("bench.core.version").this_version().version
        elif name in _MODULES:
            found = getattr(import_module(_MODULES[name]), name)
        else:
            raise AttributeError(f"module 'bench' has no attribute {name!r}")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
