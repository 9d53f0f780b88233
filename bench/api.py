"""The package as a library: a run as DataFrames, a recipe's types, one file's score, two runs compared.

Everything comes from the modules that the commands use; docs/library.md has examples, docs/columns.md every column.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.core.errors import nearest
from bench.measures import registry
from bench.measures.frames import frame
from bench.present import columns
from bench.present.compare import comparison_table
from bench.present.export import exported
from bench.present.files import tensor_rows
from bench.records.describe import windows_text
from bench.records.run import Run

if TYPE_CHECKING:
    from bench.measures.windows.single import Scored


@dataclass(frozen=True, repr=False)
class RunFrames:
    """A run as DataFrames, each made when it is first asked for and then kept: change a copy, not the frame.

    run: the records they are made of. Every column, with its unit, is in docs/columns.md. Figures of the run as a whole
    (files, kinds) are of files with all their windows.
    """

    run: Run

    def __repr__(self) -> str:
        """A line: the records themselves would fill a screen and more."""
        return f"RunFrames({self.run.identity.model.name}, {len(self.run.files)} files, {windows_text(self.run)})"

    def __getattr__(self, name: str) -> Any:
        """The frame of that name, made when it is first asked for: `files`, `windows`, `types`. One that is too long to be made
        as a whole, `tokens`, is a function of a recipe's name."""
        found = {} if name.startswith("_") else {f.attribute: f for f in exported().values() if f.attribute}
        if name not in found:
            raise AttributeError(f"a run has no {name!r}{nearest(name, found)}; it has {', '.join(found)}")
        made = found[name]
        value = made.raw(self.run) if made.of_recipe is None else partial(made.of_recipe, self.run)
        object.__setattr__(self, name, value)  # kept: found without this function the next time
        return value

    @property
    def is_complete(self) -> bool:
        """Whether the run has all that every run is to have, and nothing failed."""
        return all(m.is_complete(self.run) for m in registry.all_measures())

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(f.attribute for f in exported().values() if f.attribute)})


def load_run(path: str | Path) -> RunFrames:
    """A run as DataFrames. path: its directory, or its records.jsonl. Raises BenchError for what is no run."""
    return RunFrames(registry.load_run(Path(path)))


def compare_runs(a: str | Path | RunFrames, b: str | Path | RunFrames) -> pd.DataFrame:
    """How the recipes of run B differ from those of run A, as text with intervals and verdicts; see `bench compare`.

    Raises BenchError that names what differs when the figures of the two do not compare.
    """
    first, second = (x if isinstance(x, RunFrames) else load_run(x) for x in (a, b))
    return comparison_table(first.run, second.run)


def resolve_recipe(
    name: str | Path,
    model: str | Path | None = None,
    *,
    imatrix: str | Path | None = None,
    no_imatrix: bool = False,
    calibration: str | Path | None = None,
    calibration_chunks: int = 0,
    threads: int | None = None,
    allow_quantized: bool = False,
    widen: bool = False,
    cache: str | Path | None = None,
) -> pd.DataFrame:
    """The type that a recipe gives every tensor of a model, before anything is built: `bench recipe show` as a DataFrame.

    name: as on the command line, IQ2_XXS, DG-IQ2_XXS, or the path of a recipe file; model: None for the default one. The
    frame's `attrs` have what is of the whole file: recipe, description, model, bytes (exact) and bits_per_weight.
    A recipe that leaves a choice (DG-..., auto@SIZE) is chosen first, which takes minutes. Raises BenchError.
    """
    from bench.choose.on_request import show_recipe
    from bench.core.files import cache_directory
    from bench.core.progress import Reporter
    from bench.workbench.options import Options
    from bench.workbench.work import Work

    options = Options(
        model=None if model is None else str(model),
        recipes=(str(name),),
        imatrix=_path(imatrix),
        no_imatrix=no_imatrix,
        calibration=_path(calibration),
        calibration_chunks=calibration_chunks,
        threads=threads,
        allow_quantized=allow_quantized,
        widen=widen,
        cache=cache_directory(_path(cache)),
    )
    found: dict[str, Any] = show_recipe(Work(options, Reporter()))
    made = frame(columns.RECIPE_TABLE, tensor_rows(found["types"], found["replaced"])).astype({"layer": "Int64"})
    made.attrs = {key: found[key] for key in ("recipe", "description", "model", "bytes", "bits_per_weight")}
    return made


def score(
    file: str | Path,
    *,
    text: str | Path | None = None,
    dataset: str | None = None,
    window: int = 2048,
    windows: int | None = None,
    threads: int | None = None,
    generate: int = 0,
    timed: bool = False,
    isa: str | None = None,
    cache: str | Path | None = None,
) -> Scored:
    """Score one GGUF file in a worker process, as `bench ppl` does: `.perplexity_json()`, `.perplexity_text()`, `.windows`.

    text: path of a UTF-8 text, instead of the fixed prompts; window: in tokens; windows: None for all of the text;
    threads: None for one for each physical core. timed: by pytest-benchmark, for times that are to be compared; with
    generate > 0 (tokens to generate for each window) `.speed_json()` and `.speed_text()` have all speeds. Raises BenchError.
    """
    from bench.core.files import cache_directory
    from bench.core.progress import Reporter
    from bench.measures.windows.single import score as scored
    from bench.workbench.options import Options
    from bench.workbench.work import Work

    options = Options(
        text=_path(text),
        dataset=dataset,
        window=window,
        windows=windows,
        threads=threads,
        generate=generate,
        isa=isa,
        cache=cache_directory(_path(cache)),
    )
    return scored(Work(options, Reporter()), str(file), timed=timed)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)
