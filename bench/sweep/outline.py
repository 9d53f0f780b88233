"""The plan of a run, for people and programs before it begins, and the refusal of a plan that cannot fit.

It is put together without fetching or computing anything that takes long.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.formats import rough_duration
from bench.core.progress import Reporter
from bench.engine.memory import machine_memory
from bench.gguf_files.info import inspect
from bench.gguf_files.shards import is_split, whole_bytes
from bench.measures.measure import Measure
from bench.measures.registry import all_measures
from bench.models.convert import is_checkpoint
from bench.models.hub import hub_cache
from bench.models.reference import DEFAULT, DEFAULT_BYTES, default_path
from bench.models.sources import remote_models
from bench.recipes.recipe import Recipe
from bench.records.identity import Until
from bench.statistics.sequential import looks
from bench.sweep.forecast import Forecast, Shape, forecast
from bench.workbench.devices import known_pace
from bench.workbench.options import Options

#: Characters of the names of what the plan says, and of its lines in a log that nobody folds.
_NAMES, _WIDE = 11, 10_000
#: What a forecast lacks before a device was first used.
DEVICE_PACE = "how much faster the device is than this CPU (measured when a run begins)"


@dataclass(frozen=True)
class Outline:
    """What a run is going to do. speeds: whether they are measured; unforeseen: what of it takes time that the forecast leaves out; free: bytes on the disk of the cache;
    machine_memory: bytes; directory: where it goes; is_known: whether that is the directory's whole name; on_record: how many
    measurements are there already, of how many."""

    model: str
    recipes: tuple[str, ...]
    compared: tuple[str, ...]
    text: str
    windows: int
    window: int
    until: Until | None
    speeds: bool
    threads: int
    forecast: Forecast
    unforeseen: tuple[str, ...]
    cache: Path
    free: int
    machine_memory: int
    directory: str
    is_known: bool = False
    on_record: tuple[int, int] = (0, 0)

    def said(self) -> Iterator[tuple[str, str]]:
        """Names with what there is to say of them."""
        found = self.forecast
        yield "Model", self.model
        yield "Recipes", f"{len(self.recipes)}: {', '.join(self.recipes)}" if self.recipes else "none"
        if self.compared:
            yield "Compared", ", ".join(self.compared)
        most = "" if self.until is None else "at most "
        yield "Text", f"{self.text}, {most}{self.windows} window{'s' * (self.windows != 1)} of {self.window} tokens"
        if self.until is not None:
            steps = ", ".join(map(str, looks(self.windows)))
            yield "Until", f"{self.until.in_words} in every file; looked at after {steps} windows"
        if not self.speeds:
            yield "Speeds", "not measured (--no-speed)"
        stages = [(n, e.seconds) for n, e in found.stages.items() if e.seconds]
        parts = ", ".join(f"{name.lower()} {rough_duration(s)}" for name, s in stages)
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        yield (
            "Time",
            f"{most}about {rough_duration(found.seconds)} with {threads}" + (f": {parts}" if len(stages) > 1 else ""),
        )
        if self.unforeseen:
            yield "", f"Not in this forecast: {', '.join(self.unforeseen)}"
        download = f", {_bytes(found.download)} of it to download" if found.download else ""
        yield "Disk", f"{_bytes(found.disk)}{download}; {_bytes(self.free)} are free in {self.cache}"
        yield (
            "Memory",
            f"{_bytes(found.memory)} of {_bytes(self.machine_memory)}; {_bytes(found.side_by_side)} to time all files side by side",
        )
        there = (
            f", where {self.on_record[0]} of {self.on_record[1]} measurements are on record"
            if self.on_record[0]
            else ""
        )
        unknown = "" if self.is_known else " (its last part is known when the model is here)"
        yield "Goes to", f"{self.directory}{there or unknown}"

    def lines(self, width: int | None) -> list[str]:
        """As text, folded to a width."""
        told = ["Plan (estimated; times may be off by a factor of two, and what is in the cache is not made again)"]
        if width:
            told = textwrap.wrap(told[0], width)
        for name, what in self.said():
            start = f"  {name:<{_NAMES - 2}}"
            told += textwrap.wrap(
                what,
                width or _WIDE,
                initial_indent=start,
                subsequent_indent=" " * _NAMES,
                break_long_words=True,
                break_on_hyphens=False,
            )
        return told

    def tell(self, reporter: Reporter) -> None:
        for line in self.lines(reporter.width):
            reporter.say(line)

    def json(self) -> dict[str, object]:
        found = self.forecast
        return {
            "model": self.model,
            "recipes": self.recipes,
            "compared": self.compared,
            "text": self.text,
            "windows": self.windows,
            "window": self.window,
            "until": self.until and str(self.until),
            "speeds": self.speeds,
            "threads": self.threads,
            "seconds": found.seconds,
            "seconds_by_stage": {name: e.seconds for name, e in found.stages.items()},
            "not_forecast": self.unforeseen,
            "bytes": {
                "download": found.download,
                "disk": found.disk,
                "free": self.free,
                "memory": found.memory,
                "side_by_side": found.side_by_side,
                "machine_memory": self.machine_memory,
            },
            "directory": self.directory if self.is_known else None,
            "on_record": {"done": self.on_record[0], "of": self.on_record[1]},
        }


def outline(options: Options, recipes: Sequence[Recipe], text: str, threads: int, there: int | None = None) -> Outline:
    """The plan, from options alone. text: what is scored; there: how many windows it has, where that is known. Raises BenchError for a name that
    stands for no model."""
    if there is not None:
        options = replace(options, windows=min(options.most_windows, there))
    name, shape = _reference(options)
    device = known_pace(options, lambda _: None)
    is_unknown = device is None and options.score_on.strip().lower() != "cpu"
    stem = Path(options.model or DEFAULT.name).stem.lower()
    return Outline(
        model=name,
        recipes=tuple(r.name for r in recipes),
        compared=options.compare,
        text=text,
        windows=options.most_windows,
        until=None if options.until is None else Until.parse(options.until),
        speeds=not options.no_speed,
        window=options.window,
        threads=threads,
        forecast=forecast(options, recipes, threads, shape, device=device),
        # what only some runs ask for takes as long as it is asked for
        unforeseen=(
            *(m.name for m in all_measures() if _is_unforeseen(m, options)),
            *([DEVICE_PACE] if is_unknown else []),
        ),
        cache=options.cache,
        free=shutil.disk_usage(_existing(options.cache)).free,
        machine_memory=machine_memory().total,
        directory=str(options.out or f"results/local/{stem}-…"),
        is_known=options.out is not None,
    )


def _is_unforeseen(measure: Measure, options: Options) -> bool:
    """Whether a measure is asked for whose time does not follow from that."""
    asked = options.measures.get(measure.name)
    if measure.options is None or asked is None or asked == measure.options():
        return False
    return measure.foreseen(asked, options.window, options.most_windows) is None


def is_here(options: Options) -> bool:
    """Whether all models are on this machine as they are to be used."""
    if any(c.startswith("hf:") for c in options.compare) or options.dataset or options.widen:
        return False
    path = Path(options.model) if options.model else default_path(options.cache)
    return path.is_file() and not is_split(path)


def _reference(options: Options) -> tuple[str, Shape]:
    """What is said of the reference, and its shape: from its header where the file is here, else from its size."""
    named = options.model
    path = Path(named) if named else default_path(options.cache)
    if named is None and not path.exists():
        return f"{DEFAULT.name} (to be fetched)", Shape.of_size(DEFAULT_BYTES)
    if named and named.startswith("hf:"):
        n_bytes = sum(r.n_bytes for r in remote_models(named).values())
    elif path.is_dir() and is_checkpoint(path):
        n_bytes = sum(f.stat().st_size for f in path.glob("*.safetensors"))
    elif path.is_file() and is_split(path):
        n_bytes = whole_bytes(path)
    else:
        info = inspect(path)
        told = f"{info.architecture}, {info.n_layers} layers, {info.n_weights / 1e6:,.0f}M weights"
        return f"{info.name} ({told}, {_bytes(info.n_bytes)})", Shape.of_file(info)
    return f"{named} ({_bytes(n_bytes)})", Shape.of_size(n_bytes)


def refuse(found: Forecast, directories: Sequence[Path]) -> None:
    """Raise BenchError where the disk has no room for a run.

    directories: where files go, the cache first and then that of the hub.
    """
    needs = [(directories[0], found.copies + found.built), (directories[-1], found.download)]
    if _device(directories[0]) == _device(directories[-1]):
        needs = [(directories[0], found.disk)]
    for directory, needed in needs:
        free = shutil.disk_usage(_existing(directory)).free
        if needed > free:
            raise BenchError(
                f"{directory}: this run needs about {_bytes(needed)} ({_bytes(found.download)} of them to download) and "
                f"{_bytes(free)} are free; free some space, ask for fewer --recipes, or choose another directory with --cache or HF_HUB_CACHE"
            )


def warn_of_memory(found: Forecast, reporter: Reporter) -> None:
    """Warn where the memory has no room for a run."""
    total = machine_memory().total
    if found.memory > total:
        reporter.warn(
            f"the model with the logits of a step takes about {_bytes(found.memory)} and this machine has {_bytes(total)}: it is "
            "read from the disk again and again, and its times show that"
        )


def directories(options: Options) -> tuple[Path, Path]:
    """Where files go: the cache, and that of the hub."""
    return options.cache, hub_cache()


def _bytes(n: float) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e8 else f"{n / 1e6:.0f} MB"


def _existing(directory: Path) -> Path:
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return directory


def _device(directory: Path) -> int:
    return _existing(directory).stat().st_dev
