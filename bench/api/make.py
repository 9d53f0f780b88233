"""The commands as functions: a run, the types that a recipe gives, one file's score, what a model writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from bench.api.runs import RunFrames, load_run
from bench.api.scores import Score, score_of
from bench.core.errors import BenchError, nearest
from bench.core.files import cache_directory
from bench.core.progress import Reporter, be_quiet
from bench.measures.folders import option_types
from bench.measures.frames import frame
from bench.present import columns
from bench.present.files import tensor_rows
from bench.workbench.options import Options

Named = str | Path


def run(
    recipes: Named | Iterable[Named] | None = None,
    *,
    model: Named | None = None,
    windows: int | None = None,
    budget: str | Mapping[str, str | int] | None = None,
    keep_together: bool = False,
    out: Named | None = None,
    compare: Named | Iterable[Named] = (),
    text: Named | None = None,
    dataset: str | None = None,
    languages: Named | Iterable[Named] = (),
    traces: Named | None = None,
    window: int = 2048,
    threads: int | None = None,
    generate: int = 32,
    no_speed: bool = False,
    score_on: str = "cpu",
    gpu_layers: int | None = None,
    imatrix: Named | None = None,
    no_imatrix: bool = False,
    calibration: Named | None = None,
    calibration_chunks: int = 0,
    prior_weight: float = 0.0,
    isa: str | None = None,
    allow_quantized: bool = False,
    widen: bool = False,
    cache: Named | None = None,
    quiet: bool = False,
    **measures: object,
) -> RunFrames:
    """Build, score and time recipes beside a reference, as `dynamicgate-bench run` does, and return the run.

    An interrupted run is resumed. Its directory holds records, tables and plots, as after the command, and `bench.load_run` reads it.
    Progress is reported on standard error.

    recipes: names or paths of recipe files, "IQ2_XXS,DG-IQ2_XXS" or a list; None for the suite `dynamicgate`. model: a GGUF file,
    hf:owner/repo:file, a checkpoint; None for the default model. windows: how many to score, None for 8. window: tokens in one.
    out: the run's directory, None for results/local/MODEL-ID. compare: third-party files to measure beside the recipes.
    budget: bytes by class of tensors, {"experts": "12GB", "rest": "6GB"}, for recipes that leave a choice; keep_together: give up and gate of a
    layer one type there. no_speed: measure quality only, which takes less time. quiet: report warnings only.
    measures: options of other measures by name: propagation=True, samples=40, kinds=["fim", "chat"].
    The other parameters are the command's options of the same names.

    A recipe that cannot be built or measured does not end the run: see `failures` and `is_complete` of the result.
    Raises BenchError when the run is impossible.
    """
    from bench.present.output import write_outputs
    from bench.sweep.sweep import Sweep

    options = _options(
        recipes=None if recipes is None else _several(recipes),
        model=_text(model),
        budget=_budget(budget),
        keep_together=keep_together,
        windows=windows,
        out=_path(out),
        compare=_several(compare),
        text=_path(text),
        dataset=dataset,
        languages=_several(languages),
        traces=_path(traces),
        window=window,
        threads=threads,
        generate=generate,
        no_speed=no_speed,
        score_on=score_on,
        gpu_layers=gpu_layers,
        imatrix=_path(imatrix),
        no_imatrix=no_imatrix,
        calibration=_path(calibration),
        calibration_chunks=calibration_chunks,
        prior_weight=prior_weight,
        isa=isa,
        allow_quantized=allow_quantized,
        widen=widen,
        cache=cache_directory(_path(cache)),
        measures=_asked(measures),
    )
    sweep = Sweep(options, _reporter(quiet))
    sweep.execute()
    done = load_run(sweep.directory)
    with _backend_kept():
        write_outputs(done.run, sweep.directory, only_if_older=True)
    return done


def resolve_recipe(
    name: Named,
    model: Named | None = None,
    *,
    budget: str | Mapping[str, str | int] | None = None,
    keep_together: bool = False,
    imatrix: Named | None = None,
    no_imatrix: bool = False,
    calibration: Named | None = None,
    calibration_chunks: int = 0,
    prior_weight: float = 0.0,
    threads: int | None = None,
    allow_quantized: bool = False,
    widen: bool = False,
    cache: Named | None = None,
    quiet: bool = False,
) -> pd.DataFrame:
    """The type that a recipe gives every tensor of a model, before anything is built: `recipe show` as a DataFrame.

    name: as on the command line, IQ2_XXS, DG-IQ2_XXS, or the path of a recipe file; model: None for the default one.
    Index: tensor; columns: layer, kind, type, bits (a weight), asked. The frame's `attrs` describe the whole file: recipe,
    description, model, bytes (exact), bits_per_weight, and bytes_by_class and budgets, {class of tensors: bytes}, the first empty
    for a recipe without budgets of a model without experts. If a recipe leaves a choice (DG-..., auto@SIZE), its types are chosen
    first, which takes minutes. budget, keep_together: as in `run`. Raises BenchError.
    """
    from bench.choose.on_request import show_recipe
    from bench.workbench.work import Work

    options = _options(
        model=_text(model),
        recipes=(str(name),),
        budget=_budget(budget),
        keep_together=keep_together,
        imatrix=_path(imatrix),
        no_imatrix=no_imatrix,
        calibration=_path(calibration),
        calibration_chunks=calibration_chunks,
        prior_weight=prior_weight,
        threads=threads,
        allow_quantized=allow_quantized,
        widen=widen,
        cache=cache_directory(_path(cache)),
    )
    found: dict[str, Any] = show_recipe(Work(options, _reporter(quiet)))
    rows = tensor_rows(found["types"], found["replaced"])
    made = frame(columns.RECIPE_TABLE, rows).astype({"layer": "Int64"}).set_index(list(columns.RECIPE_TABLE.index))
    told = "recipe", "description", "model", "bytes", "bits_per_weight", "bytes_by_class", "budgets"
    made.attrs = {key: found[key] for key in told}
    return made


def score(
    file: Named,
    *,
    text: Named | None = None,
    dataset: str | None = None,
    languages: Named | Iterable[Named] = (),
    traces: Named | None = None,
    window: int = 2048,
    windows: int | None = None,
    threads: int | None = None,
    generate: int = 0,
    timed: bool = False,
    isa: str | None = None,
    cache: Named | None = None,
    quiet: bool = False,
) -> Score:
    """Score one GGUF file in a worker process, as `ppl` does, and return its perplexity and speed.

    text: path of a UTF-8 text, instead of the fixed prompts; languages: score the fixed texts in these; traces: a file of make_traces; window: in tokens; windows: None for all of the text;
    threads: None for one for each physical core; generate: tokens to generate for each window. timed: use
    pytest-benchmark, for times that are to be compared. Raises BenchError.
    """
    from bench.measures.windows.single import score as scored
    from bench.workbench.work import Work

    options = _options(
        text=_path(text),
        dataset=dataset,
        languages=_several(languages),
        traces=_path(traces),
        window=window,
        windows=windows,
        threads=threads,
        generate=generate,
        isa=isa,
        cache=cache_directory(_path(cache)),
    )
    return score_of(scored(Work(options, _reporter(quiet)), str(file), timed=timed))


def make_traces(
    out: Named,
    *,
    model: Named | None = None,
    conversations: Named | None = None,
    turns: int = 0,
    tokens: int = 512,
    temperature: float = 1.0,
    seed: int = 1,
    window: int = 2048,
    threads: int | None = None,
    allow_quantized: bool = False,
    widen: bool = False,
    cache: Named | None = None,
    force: bool = False,
    quiet: bool = False,
) -> pd.DataFrame:
    """Have a model answer conversations and write them to a file, as `traces` does; `run(traces=out)` and `score(traces=out)` score files on it.

    model: None for the default one. conversations: a file of JSON lines with messages, None for the fixed ones; turns: answers of each at most,
    0 for all; tokens: of an answer at most; temperature: 1 for the model's own distribution, 0 for its likeliest tokens; seed: another one gives
    other conversations; window: tokens of a conversation at most; force: overwrite a file that is there.
    Index: conversation, turn; columns: group, tokens, stop, text. The frame's `attrs` have sha256 of the file and header, how it was made.
    Raises BenchError.
    """
    from bench.traces.make import Asked
    from bench.traces.make import make_traces as made
    from bench.traces.told import answers_frame
    from bench.workbench.work import Work

    given = {"turns": (turns, 0), "tokens": (tokens, 1)}
    for name, (value, least) in given.items():
        if value < least:
            raise BenchError(f"{name}={value}: must be at least {least}")
    options = _options(
        model=_text(model),
        window=window,
        threads=threads,
        allow_quantized=allow_quantized,
        widen=widen,
        cache=cache_directory(_path(cache)),
    )
    asked = Asked(seed=seed, turns=turns, tokens=tokens, temperature=temperature, conversations=_path(conversations))
    traces = made(Work(options, _reporter(quiet)), Path(out), asked, force=force)
    found = answers_frame(traces).set_index(["conversation", "turn"])
    found.attrs = {"sha256": traces.sha256, "header": traces.header.model_dump(mode="json")}
    return found


def _options(**given: Any) -> Options:
    """The options as one value. Raises BenchError for a number that is out of the range of its option."""
    _check_ranges(Options, given)
    return Options(**given)


def _check_ranges(of: type, given: dict[str, Any]) -> None:
    for field in fields(of):
        least, value = field.metadata.get("min"), given.get(field.name)
        if least is not None and value is not None and value < least:
            raise BenchError(f"{field.name}={value}: must be at least {least}")


def _asked(given: dict[str, object]) -> dict[str, Any]:
    """The options of measures, {name of a measure: its options}."""
    types = option_types()
    known = {f.name: name for name, of in types.items() for f in fields(of)}
    asked: dict[str, dict[str, Any]] = {name: {} for name in types}
    for option, value in given.items():
        if option not in known:
            raise TypeError(f"run() has no option {option!r}{nearest(option, known)}; measures have {', '.join(known)}")
        many = isinstance(value, Iterable) and not isinstance(value, str)
        default = next(f.default for f in fields(types[known[option]]) if f.name == option)
        tuple_wanted = isinstance(default, tuple)
        asked[known[option]][option] = _several(value) if tuple_wanted else tuple(value) if many else value  # type: ignore[arg-type]
    for name, values in asked.items():
        _check_ranges(types[name], values)
    return {name: types[name](**values) for name, values in asked.items()}


def _several(given: Named | Iterable[Named]) -> tuple[str, ...]:
    """Names, given as a list, as one path, or as text with commas."""
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(",") if part.strip())
    return (str(given),) if isinstance(given, Path) else tuple(map(str, given))


def _budget(given: str | Mapping[str, str | int] | None) -> str | None:
    """Budgets as `--budget` is typed."""
    return ",".join(f"{c}={n}" for c, n in given.items()) if isinstance(given, Mapping) else given


def _text(given: Named | None) -> str | None:
    return None if given is None else str(given)


def _path(given: Named | None) -> Path | None:
    return None if given is None else Path(given)


def _reporter(quiet: bool) -> Reporter:
    """A new reporter. It reads once, when it is made, whether to be quiet."""
    be_quiet(quiet)
    try:
        return Reporter()
    finally:
        be_quiet(False)


@contextmanager
def _backend_kept() -> Iterator[None]:
    """Restore the backend of matplotlib afterwards, so that a notebook still shows its plots."""
    import matplotlib as mpl
    from matplotlib import pyplot

    before = mpl.get_backend()
    try:
        yield
    finally:
        pyplot.switch_backend(before)
