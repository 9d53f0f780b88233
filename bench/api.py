"""The package as a library: a run as DataFrames, a recipe's types, one file's score, two runs compared.

Everything comes from the modules that the commands use; docs/library.md has examples, docs/columns.md every column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import pandas as pd

from bench.core.errors import BenchError, nearest
from bench.execute.jobs import REFERENCE_TOP_IS_CORRECT, SAME_TOP, TOP_IS_CORRECT, TokenData, WindowResult, unpack
from bench.measures.problems import tables as problem_tables
from bench.measures.samples import tables as sampled
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import kl_by_kind, mean_kl
from bench.measures.windows.tables import full_frame, windows_text
from bench.present import columns
from bench.present.compare import comparison_table
from bench.recipes.recipe import kind_of
from bench.records.run import Run

if TYPE_CHECKING:
    from bench.sweep.commands import Scored

_LAYER = re.compile(r"^blk\.(\d+)\.")


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

    @cached_property
    def files(self) -> pd.DataFrame:
        """One row a file, the reference first: size, perplexity, divergence, speed, with intervals."""
        return full_frame(self.run)

    @cached_property
    def windows(self) -> pd.DataFrame:
        """One row a recipe and window: sums, perplexity, mean KL divergence, times."""
        threads = self.run.identity.settings.threads
        rows = []
        for name, by_window in self.run.windows.items():
            for record in by_window.values():
                w = record.result
                kl = mean_kl([w])
                rows.append(
                    {
                        "recipe": name,
                        "family": self.run.files[name].family,
                        "window": w.window,
                        "tokens": sum(s.tokens for s in w.by_kind.values()),
                        "nll": sum(s.nll for s in w.by_kind.values()),
                        "ppl": stats.perplexity([w]).ppl.value,
                        "kl": np.nan if kl is None else float(kl[0]),
                        "seconds": w.seconds,
                        "generate_seconds": w.generate_seconds,
                        "load_seconds": w.load_seconds,
                        "scoring_seconds": w.scoring_seconds,
                        "peak_memory_bytes": w.peak_memory_bytes,
                        "disturbed": w.activity.disturbed(threads),
                        "load": record.load,
                        "sitting": record.sitting,
                    }
                )
        perhaps = ("kl", "generate_seconds", "scoring_seconds", "load")
        return _frame("windows", rows).astype(dict.fromkeys(perhaps, "float64"))

    @cached_property
    def kinds(self) -> pd.DataFrame:
        """One row a recipe and kind of prompt: perplexity and mean KL divergence."""
        rows = []
        for name, file in self.run.files.items():
            windows = self.run.results(name) or []
            kl = kl_by_kind(windows)
            for kind, ppl in stats.perplexity_by_kind(windows).items():
                tokens = sum(w.by_kind[kind].tokens for w in windows if kind in w.by_kind)
                row = {"recipe": name, "family": file.family, "kind": kind}
                rows.append(row | {"tokens": tokens, "ppl": ppl, "kl": kl.get(kind, np.nan)})
        return _frame("kinds", rows)

    @cached_property
    def types(self) -> pd.DataFrame:
        """One row a recipe and tensor: its layer, kind and type."""
        rows = [
            {"recipe": name, "family": file.family} | row
            for name, file in self.run.files.items()
            for row in _tensors(file.types, file.replaced)
        ]
        return _frame("types", rows).astype({"layer": "Int64"})

    def tokens(self, recipe: str) -> pd.DataFrame:
        """One row a scored token of a recipe, in the text's order.

        Raises BenchError for a recipe that the run does not have, or whose records hold no single tokens.
        """
        if recipe not in self.run.files:
            raise BenchError(
                f"{recipe}: is not in this run{nearest(recipe, self.run.files)}; it has {', '.join(self.run.files)}"
            )
        window = self.run.identity.settings.window
        found = [r.result for r in self.run.windows[recipe].values()]
        frames = [_token_frame(w, w.tokens, window) for w in found if w.tokens is not None]
        if not frames:
            raise BenchError(f"{recipe}: its records hold no single tokens; measure it again with `bench run`")
        return pd.concat(frames, ignore_index=True)

    @cached_property
    def problems(self) -> pd.DataFrame:
        """One row a recipe and problem (infill, conversation); empty for a run without any."""
        rows = []
        for problems in self.run.problem_sets:
            scored = "assistant" if problems.assistant_only else "all"
            for name, results in problem_tables.problem_results(self.run, problems).items():
                for r in results:
                    s = problem_tables.scores([r], None)
                    rows.append(
                        {
                            "set": problems.name,
                            "scored": "gap" if problems.problem_kind == "fim" else scored,
                            "recipe": name,
                            "problem": r.name,
                            "group": r.group,
                            "tokens": r.tokens,
                            "ppl": s.ppl.value,
                            "kl": _value(s.kl),
                            "same_top": _value(s.same_top),
                            "exact": _value(s.exact),
                            "similarity": _value(s.similarity),
                            "completion": r.completion,
                            "expected": r.expected,
                        }
                    )
        return _frame("problems", rows)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row a recipe and prompt that it went on from; empty for a run without any."""
        rows = []
        reference = self.run.samples.get(self.run.reference or "")
        for name, record in self.run.samples.items():
            for i, ((prompt, text), found) in enumerate(zip(record.prompts, record.completions, strict=True)):
                base = reference.completions[i].tokens if reference and name != self.run.reference else None
                rows.append(
                    {
                        "recipe": name,
                        "prompt": prompt,
                        "text": text,
                        "completion": found.text,
                        "tokens": len(found.tokens),
                        "ended": found.ended,
                        "same_until": None if base is None else sampled.first_difference(base, found.tokens),
                        "agreeing": None if base is None else sampled.agreeing(base, found.tokens),
                    }
                )
        return _frame("samples", rows).astype({"same_until": "Int64", "agreeing": "float64"})


def load_run(path: str | Path) -> RunFrames:
    """A run as DataFrames. path: its directory, or its records.jsonl. Raises BenchError for what is no run."""
    return RunFrames(Run.load(Path(path)))


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
    from bench.core.progress import Reporter
    from bench.models.reference import cache_directory
    from bench.sweep.commands import show_recipe
    from bench.workbench.options import Options

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
    found: dict[str, Any] = show_recipe(options, Reporter())
    frame = _frame("recipe", _tensors(found["types"], found["replaced"])).astype({"layer": "Int64"})
    frame.attrs = {key: found[key] for key in ("recipe", "description", "model", "bytes", "bits_per_weight")}
    return frame


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
    from bench.core.progress import Reporter
    from bench.models.reference import cache_directory
    from bench.sweep import commands

    return commands.score(
        str(file),
        text=_path(text),
        dataset=dataset,
        window=window,
        windows=windows,
        threads=threads,
        generate=generate,
        timed=timed,
        isa=isa,
        cache=cache_directory(_path(cache)),
        reporter=Reporter(),
    )


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _value(estimate: stats.Estimate | None) -> float:
    return np.nan if estimate is None else estimate.value


def _frame(name: str, rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """The rows as they are; without any, no rows of the columns that the table of that name has."""
    found = list(rows)
    return pd.DataFrame(found) if found else pd.DataFrame(columns=pd.Index(columns.table(name).names))


def _tensors(types: Mapping[str, str], replaced: Mapping[str, tuple[str, str]]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for tensor, stored in types.items():
        layer = _LAYER.match(tensor)
        block, n_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[stored]]
        rows.append(
            {
                "tensor": tensor,
                "layer": int(layer[1]) if layer else None,
                "kind": kind_of(tensor),
                "type": stored,
                "bits": 8 * n_bytes / block,
                "asked": replaced[tensor][0] if tensor in replaced else stored,
            }
        )
    return rows


def _token_frame(result: WindowResult, data: TokenData, window: int) -> pd.DataFrame:
    """Scored tokens of one window; what is against the reference is missing where it was not compared."""
    flags = unpack(data.flags, np.uint8)
    n, compared = len(flags), data.kl is not None

    def number(packed: str | None) -> object:
        return np.full(n, np.nan) if packed is None else unpack(packed, np.float32).astype(np.float64)

    def flag(bit: int) -> object:
        return pd.array(flags & bit > 0 if compared else [pd.NA] * n, dtype="boolean")

    return pd.DataFrame(
        {
            "window": np.full(n, result.window),
            "position": np.arange(window // 2 + 1, window // 2 + 1 + n),
            "kind": np.array(data.kind_names, object)[unpack(data.kinds, np.uint8)],
            "nll": number(data.nll),
            "top_correct": flags & TOP_IS_CORRECT > 0,
            "kl": number(data.kl),
            "p_change": number(data.p_change),
            "same_top": flag(SAME_TOP),
            "reference_top_correct": flag(REFERENCE_TOP_IS_CORRECT),
        }
    )
