"""What a run will take, told before anything is fetched or built, and refused where it cannot fit.

Sizes are those of formats by their bits per weight, times by what one core with AVX2 was measured to do (README names the
machine). They are for deciding whether to begin: expect a factor of two either way on other machines.
"""

from __future__ import annotations

import glob
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.engine.memory import machine_memory
from bench.models.sources import remote_models
from bench.quantize.block_cache import cache_limit
from bench.recipes.recipe import Recipe
from bench.workbench.options import DEFAULT_WINDOWS, Options

#: Multiply-adds that one core does in a second: 2 x 191M weights x 2048 tokens in 4.7 s on two cores.
_OPERATIONS = 80e9
#: Weights that one core quantizes in a second: ten files of 191M weights in 135 s on two cores, tensors shared.
_QUANTIZED = 7e6
#: Tokens of the fixed calibration text; of a probe of one tensor; of the trials of one choice (9 of 3 windows).
_CALIBRATION, _PROBE, _CHOICE = 24_000, 512, 9 * 3 * 512
#: Matrices of a layer, and layers of a model with so many weights: what there is to probe before the header was read.
_MATRICES = 7
_LAYERS = ((1e9, 28), (4e9, 32), (2e10, 44), (1e12, 80))

#: What is worth telling: runs that take longer, or more room.
_SECONDS, _BYTES = 1800, 5e9


@dataclass(frozen=True)
class Forecast:
    """Bytes and seconds of a run. download: still to be fetched; copies: models joined, converted or widened; built: recipes'
    files and the quantized tensors that are kept; memory: largest model with the logits of a window."""

    download: int
    copies: int
    built: int
    memory: int
    parts: dict[str, float]

    @property
    def seconds(self) -> float:
        return sum(self.parts.values())

    @property
    def text(self) -> str:
        parts = ", ".join(f"{name} {duration(s)}" for name, s in self.parts.items() if s >= 60)
        return (
            f"About {duration(self.seconds)} ({parts or 'little of anything'}), "
            f"{gigabytes(self.download + self.copies + self.built)} of disk, {gigabytes(self.download)} of it to download, and "
            f"{gigabytes(self.memory)} of memory"
        )


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB"


def forecast(options: Options, recipes: Sequence[Recipe], threads: int, known_bytes: int | None) -> Forecast:
    """What the run would take. known_bytes: of the reference's file where it is on this machine."""
    model = remote_models(options.model) if options.model else []
    others = [r for named in options.compare for r in remote_models(named)]
    reference = known_bytes or sum(r.n_bytes for r in model)
    weights = reference / 2  # in 16 bits
    layers = next((n for limit, n in _LAYERS if weights < limit), _LAYERS[-1][1])
    tokens = (options.windows or DEFAULT_WINDOWS) * options.window

    def decode(n_tokens: float) -> float:
        return 2 * weights * n_tokens / (_OPERATIONS * threads)

    choosing = [r for r in recipes if r.size]
    # the files, and as much again for the tensors that are kept, up to the limit of their cache
    files_bytes = sum(weights * _bits(r) / 8 for r in recipes)
    files = 1 + len(recipes) + max(len(others), len(options.compare))
    return Forecast(
        download=sum(r.missing for r in (*model, *others)),
        copies=sum(r.copied for r in (*model, *others)),
        built=round(
            files_bytes + min(files_bytes, cache_limit()) - min(_kept(options.cache, recipes, weights), files_bytes)
        ),
        memory=round(reference + 4 * options.window / 2 * _VOCABULARY),
        parts={
            "importance matrix": 0.0 if options.imatrix or options.no_imatrix else decode(_CALIBRATION),
            "sensitivities": decode(layers * _MATRICES * _PROBE) if choosing else 0.0,
            "choices": len(choosing) * decode(_CHOICE),
            "quantizing": len(recipes) * weights / (_QUANTIZED * threads),
            "scoring and timing": files * decode(tokens),
        },
    )


_VOCABULARY = 128_000


def _kept(cache: Path, recipes: Sequence[Recipe], weights: float) -> float:
    """Bytes of files of these recipes that are there already: a run that goes on is not to be refused for what it has built.

    The file of a recipe is told by its name and by a size that the model may have.
    """
    kept = 0.0
    for recipe in recipes:
        expected = weights * _bits(recipe) / 8
        sizes = [p.stat().st_size for p in (cache / "quantized").glob(f"*-{glob.escape(recipe.name)}-*.gguf")]
        kept += max((n for n in sizes if expected / 2 < n < expected * 2), default=0)
    return kept


def _bits(recipe: Recipe) -> float:
    """Bits per weight by the name of the recipe's format, with a tenth for the tensors that get more."""
    for name in (recipe.base, recipe.base.rpartition("_")[0]):
        if name in gguf.GGMLQuantizationType.__members__:
            block, n_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
            return 1.1 * 8 * n_bytes / block
    return 5.0


def tell(found: Forecast, directories: Sequence[Path], reporter: Reporter) -> None:
    """Tell what a long or large run takes. Raises BenchError where the disk has no room for it.

    directories: where files go, the cache first and then that of the hub.
    """
    needs = [(directories[0], found.copies + found.built), (directories[-1], found.download)]
    if _device(directories[0]) == _device(directories[-1]):
        needs = [(directories[0], found.copies + found.built + found.download)]
    for directory, needed in needs:
        free = shutil.disk_usage(_existing(directory)).free
        if needed > free:
            raise BenchError(
                f"{directory}: this run needs about {gigabytes(needed)} ({gigabytes(found.download)} of them to download) and "
                f"{gigabytes(free)} are free; free some space, ask for fewer --recipes, or choose another directory with --cache or HF_HUB_CACHE"
            )
    total = machine_memory().total
    if found.memory > total:
        reporter.warn(
            f"the model with the logits of a window takes about {gigabytes(found.memory)} and this machine has {gigabytes(total)}: it is "
            "read from the disk again and again, and its times show that"
        )
    if found.seconds > _SECONDS or found.download + found.copies + found.built > _BYTES:
        reporter.say(f"{found.text}. Estimated; what is in the cache already is not made again.")


def _existing(directory: Path) -> Path:
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return directory


def _device(directory: Path) -> int:
    return _existing(directory).stat().st_dev
