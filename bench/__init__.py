"""What a GGUF quantization costs and what it buys: perplexity, size and CPU speed, measured.

As a library: load_run, compare_runs, resolve_recipe, score (see docs/library.md). Loaded when they are first used, so that
`import bench` costs nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.api import RunFrames, compare_runs, load_run, resolve_recipe, score
    from bench.core.errors import BenchError
    from bench.measures.windows.single import Scored

__all__ = ["BenchError", "RunFrames", "Scored", "compare_runs", "load_run", "resolve_recipe", "score"]

_ELSEWHERE = {"BenchError": "bench.core.errors", "Scored": "bench.measures.windows.single"}


if not TYPE_CHECKING:  # a checker would take any name of a module that has this

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'bench' has no attribute {name!r}")
        from importlib import import_module

        found = getattr(import_module(_ELSEWHERE.get(name, "bench.api")), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
