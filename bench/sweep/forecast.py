"""The cost of a run: bytes, and seconds by stage, forecast before anything is fetched or built.

Sizes follow from the bits per weight of formats. Times follow from numbers of weights and tokens, and the speed of one core with
AVX2 that was measured in the published run `smollm2-135m-instruct-default`. The forecasts are for
deciding whether to begin: expect a factor of two either way on other machines. During a run its own pace corrects them (core/pace.py).
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import gguf

from bench.choose.sensitivity import STAGE
from bench.core.pace import Expected
from bench.engine.memory import UBATCH
from bench.gguf_files.info import ModelInfo
from bench.measures.registry import all_measures
from bench.models.reference import DEFAULT_BYTES, DEFAULT_DOWNLOAD, default_path
from bench.models.sources import Remote, model_names, remote_models
from bench.quantize.block_cache import cache_limit
from bench.recipes.recipe import Recipe
from bench.workbench.options import Options

#: The rates lie between those of two machines of two cores that ran the default sweep, an AMD EPYC and an Intel Xeon half as fast.
#: Multiply-adds that one core does in a second where nothing but the model is computed, as for the importance matrix: 2 x 191M
#: weights x 24,000 tokens in 56 s and in 122 s.
_OPERATIONS = 56e9
#: The same where attention, scoring and loading come on top: 88 windows of 2048 tokens with 32 generated ones in 12 and in 23
#: minutes, and a probe or trial likewise.
_SCORED = 35e9
#: A generated token by one of the text: 433 tokens/s against 105.
_GENERATED = 4
#: Weights that one core quantizes in a second: ten files of 191M weights in 135 s on two cores of the former, tensors shared. Where types are
#: chosen most tensors have been quantized by then, and a seventh of the time is left.
_QUANTIZED, _AFTER_CHOICES = 5.5e6, 1 / 7
#: Tokens of the fixed calibration text; of its chunks; of a probe of one tensor; of the trials of one choice (9 of 3 windows).
CALIBRATION_TOKENS, _CHUNK, _PROBE, _CHOICE = 24_000, 512, 256, (17 + 4) * 3 * 128

#: Stages of every sweep, as they are told and put on record, before those of the measures. Sensitivities are measured while types are
#: chosen.
MAKING = IMPORTANCE, SENSITIVITIES, CHOICES, BUILDING = "Importance matrix", STAGE, "Choosing types", "Quantizing"
#: The measure of windows calls its stage so, with and without times; other measures' stages are not forecast.
SCORING, ONLY_SCORING = "Scoring and timing", "Scoring"


@dataclass(frozen=True)
class Shape:
    """What is known of the reference: bytes of its file, weights, layers, tensors to probe, tokens of the vocabulary."""

    n_bytes: int
    weights: float
    layers: int
    matrices: int
    vocabulary: int

    @classmethod
    def of_file(cls, info: ModelInfo) -> Self:
        matrices = sum(len(t.shape) > 1 for t in info.tensors)
        return cls(info.n_bytes, info.n_weights, info.n_layers, matrices, info.vocabulary)

    @classmethod
    def of_size(cls, n_bytes: int) -> Self:
        """Before the header was read: weights in 16 bits, and what models of that size are like."""
        layers = next((n for limit, n in _LAYERS if n_bytes / 2 < limit), _LAYERS[-1][1])
        return cls(n_bytes, n_bytes / 2, layers, _MATRICES * layers + 1, _VOCABULARY)


_LAYERS = ((1e9, 28), (4e9, 32), (2e10, 44), (1e12, 80))
#: Matrices of a layer, and tokens of a vocabulary.
_MATRICES, _VOCABULARY = 7, 128_000


@dataclass(frozen=True)
class Forecast:
    """Bytes and seconds of a run. download: still to be fetched; copies: models joined, converted or widened; built: recipes'
    files and the quantized tensors that are kept; memory: largest model with the logits of a step, which it takes at least; side_by_side:
    all files with the logits of a step each, as they are timed where memory has room; stages: what each takes."""

    download: int
    copies: int
    built: int
    memory: int
    side_by_side: int
    stages: Mapping[str, Expected]

    @property
    def disk(self) -> int:
        return self.download + self.copies + self.built

    @property
    def seconds(self) -> float:
        return sum(e.seconds or 0.0 for e in self.stages.values())


def forecast(
    options: Options,
    recipes: Sequence[Recipe],
    threads: int,
    shape: Shape,
    *,
    to_build: Sequence[Recipe] | None = None,
    share: float = 1.0,
    shares: Mapping[str, float] | None = None,
    compared: int | None = None,
    device: float | None = None,
) -> Forecast:
    """What the run takes. to_build: the recipes whose files are still wanted, None for all; share: what of the windows is still
    to be scored; shares: what of other stages is still to be done, by title, all where it is not told; compared: how many third-party files there are, once all models are here, and then no hub is asked anything; device: weights times
    tokens that the device of --score-on computes in a second, None for the CPU and where that is not known."""
    every, recipes = recipes, recipes if to_build is None else to_build
    fetched, n_compared = _models(options) if compared is None else ([], compared)
    windows = options.most_windows
    scoring = ONLY_SCORING if options.no_speed else SCORING
    generated = 0 if options.no_speed else options.generate

    def decode(n_tokens: float, speed: float = _SCORED) -> float:
        return 2 * shape.weights * n_tokens / (speed * threads)

    def there(n_tokens: float, speed: float = _SCORED) -> float:
        """Where scores are computed; what comes on top there is as much in proportion."""
        return decode(n_tokens, speed) if device is None else shape.weights * n_tokens / (device * speed / _OPERATIONS)

    choosing = [r for r in recipes if r.size]
    calibration = min(options.calibration_chunks * _CHUNK or CALIBRATION_TOKENS, CALIBRATION_TOKENS)
    importance = 0.0 if options.imatrix or options.no_imatrix or not recipes else there(calibration, _OPERATIONS)
    building = len(recipes) * shape.weights / (_QUANTIZED * threads) * (_AFTER_CHOICES if choosing else 1)
    files = 1 + len(every) + n_compared
    measured = round(files * windows * share)
    on_device = options.score_on.strip().lower() != "cpu"
    # of a window: where a device scores, the CPU computes it once more for the times
    timed = decode(options.window + _GENERATED * generated) if on_device and not options.no_speed else 0.0
    scored = there(options.window + _GENERATED * (0 if on_device else generated))
    stages = {
        IMPORTANCE: Expected(importance),
        SENSITIVITIES: Expected(there(shape.matrices * _PROBE) if choosing else 0.0, shape.matrices),
        CHOICES: Expected(len(choosing) * there(_CHOICE), len(choosing)),
        BUILDING: Expected(building, len(recipes)),
        scoring: Expected(measured * (scored + timed), measured),
    }
    for m in all_measures():
        foreseen = m.foreseen(options.measures[m.name], options.window, windows) if m.name in options.measures else None
        if foreseen is not None:
            left = files * (shares or {}).get(foreseen.title, 1.0)
            stages[foreseen.title] = Expected(decode(left * foreseen.tokens), round(left * foreseen.steps))
    # the files, and as much again for the tensors that are kept, up to the limit of their cache
    files_bytes = sum(shape.weights * _bits(r) / 8 for r in recipes)
    every_bytes = sum(shape.weights * _bits(r) / 8 for r in every) + n_compared * shape.n_bytes / 2
    kept = min(_kept(options.cache, recipes, shape.weights), files_bytes)
    return Forecast(
        download=sum(r.missing for r in fetched),
        copies=sum(r.copied for r in fetched),
        built=round(files_bytes + min(files_bytes, cache_limit()) - kept),
        memory=round(shape.n_bytes + 4 * min(UBATCH, options.window / 2) * shape.vocabulary),
        side_by_side=round(shape.n_bytes + every_bytes + files * 4 * min(UBATCH, options.window) * shape.vocabulary),
        stages={name: e for name, e in stages.items() if e.seconds or name == scoring},
    )


def _models(options: Options) -> tuple[list[Remote], int]:
    """What is fetched from a hub, each model once, and how many files are compared with the reference."""
    model = remote_models(options.model) if options.model else {"": _default_model(options.cache)}
    others: dict[str, Remote | None] = {}
    for named in options.compare:
        others |= remote_models(named) or dict.fromkeys(model_names(named))
    others = {name: remote for name, remote in others.items() if name not in model and name != options.model}
    return [*model.values(), *(r for r in others.values() if r is not None)], len(others)


def _default_model(cache: Path) -> Remote:
    fetched = default_path(cache).exists()
    return Remote(DEFAULT_BYTES, 0 if fetched else DEFAULT_DOWNLOAD, 0 if fetched else DEFAULT_BYTES)


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
