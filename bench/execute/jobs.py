"""What a worker process is asked and what it answers: the types that cross the process boundary."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from bench.core.machine import Activity
from bench.measures.problems.jobs import EncodeJob, SampleJob, SolveJob
from bench.recipes.recipe import Recipe


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Settings(_Frozen):
    """How windows are processed. Figures compare only between equal settings.

    window, batch, ubatch, generate in tokens; generate: tokens generated in each timed round, 0 for none.
    """

    window: int = 2048
    batch: int = 2048
    ubatch: int = 512
    threads: int = 1
    generate: int = 32


class LibraryInfo(_Frozen):
    """The loaded engine as it reports itself, and the label that follows from it."""

    binding: str
    llama_cpp: str
    features: tuple[str, ...]
    isa: str


class KindSums(_Frozen):
    """Sums over the scored tokens of one kind of prompt: their number, NLL in nats, squares of the NLL."""

    tokens: int
    nll: float
    squares: float


class TokenData(_Frozen):
    """Scores of the scored tokens of a window, packed (see pack): one entry a token, in the text's order.

    kinds: uint8 indices into kind_names; nll: float32, nats; flags: uint8, the sum of TOP_IS_CORRECT,
    REFERENCE_TOP_IS_CORRECT and SAME_TOP where they hold. Against the reference, None for the reference itself:
    kl: float32, nats; p_change: float32, probability of the correct token minus the reference's.
    """

    kind_names: tuple[str, ...]
    kinds: str
    nll: str
    flags: str
    kl: str | None = None
    p_change: str | None = None


TOP_IS_CORRECT, REFERENCE_TOP_IS_CORRECT, SAME_TOP = 1, 2, 4


def pack(values: NDArray[Any], dtype: type[np.generic]) -> str:
    """An array as base64 of its little-endian bytes, for a record that stays one line of text."""
    return base64.b64encode(np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<")).tobytes()).decode("ascii")


def unpack(text: str, dtype: type[np.generic]) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), np.dtype(dtype).newbyteorder("<"))


class WindowResult(_Frozen):
    """Raw values of one window of one file.

    seconds: of the window's llama_decode; generate_seconds: of Settings.generate tokens; load_seconds: model and context;
    peak_memory_bytes: of the process up to the end of this window's scoring; scoring_seconds: from logits to scores, the
    reference's logits read or written.
    """

    window: int
    by_kind: dict[str, KindSums]
    tokens: TokenData | None = None
    seconds: float
    activity: Activity
    generate_seconds: float | None
    load_seconds: float
    peak_memory_bytes: int
    scoring_seconds: float | None = None


class LibraryJob(_Frozen):
    kind: Literal["library"] = "library"


class TokenizeJob(_Frozen):
    """Tokenize a part of the prompt set, or a text file, with a model's vocabulary."""

    kind: Literal["tokenize"] = "tokenize"
    model: Path
    source: Path | Literal["evaluation", "calibration"]
    out: Path


class TokenizeResult(_Frozen):
    tokens: int


class ImportanceJob(_Frozen):
    """Collect an importance matrix over a token stream. chunks: how many at most, 0 for all."""

    kind: Literal["importance"] = "importance"
    model: Path
    stream: Path
    dataset: str
    chunks: int
    threads: int
    out: Path


class ImportanceResult(_Frozen):
    chunks: int
    seconds: float


class QuantizeJob(_Frozen):
    """Build a recipe's file. importance: a matrix file, or None to build without one.

    blocks: directory of the cache of quantized tensors; origin: names what they depend on beside tensor and type.
    """

    kind: Literal["quantize"] = "quantize"
    model: Path
    recipe: Recipe
    importance: Path | None
    threads: int
    out: Path
    blocks: Path
    origin: str


class QuantizeResult(_Frozen):
    """types: the type of every tensor of the file; replaced: {tensor: (asked, stored)}.

    damaged: tensors whose blocks in the cache were damaged and were made anew.
    """

    types: dict[str, str]
    replaced: dict[str, tuple[str, str]]
    damaged: tuple[str, ...] = ()
    seconds: float
    peak_memory_bytes: int


class PlanJob(_Frozen):
    """What a recipe would make of a model. with_importance: whether it would be built with an importance matrix."""

    kind: Literal["plan"] = "plan"
    model: Path
    recipe: Recipe
    with_importance: bool


class PlanResult(_Frozen):
    """types, replaced: as in QuantizeResult; n_bytes: of the file, exactly; bits_per_weight: of its tensors."""

    types: dict[str, str]
    replaced: dict[str, tuple[str, str]]
    n_bytes: int
    bits_per_weight: float


class MeasureJob(_Frozen):
    """Score and time windows of a token stream.

    timed: by pytest-benchmark, for figures that are compared. write_logits: keep the logits of the scored tokens there, for the recipes to be compared with; reference_logits:
    compare with those. Either goes with a single window.
    """

    kind: Literal["measure"] = "measure"
    model: Path
    stream: Path
    windows: tuple[int, ...]
    settings: Settings
    timed: bool = True
    write_logits: Path | None = None
    reference_logits: Path | None = None


class PropagationJob(_Frozen):
    """Write a model's hidden states of the first tokens of a window to `states`, or compare with those that are there."""

    kind: Literal["propagation"] = "propagation"
    model: Path
    stream: Path
    window: int
    tokens: int
    settings: Settings
    states: Path
    write: bool


class PropagationResult(_Frozen):
    """Relative errors by layer (see propagation.py); None where a layer's input is not known. Empty for the reference."""

    window: int
    residual: tuple[float, ...]
    attention: tuple[float | None, ...]
    feed_forward: tuple[float | None, ...]


class WeightErrorJob(_Frozen):
    """What quantizing does to single tensors. types: the types to try, by tensor; importance: as in QuantizeJob."""

    kind: Literal["weight-error"] = "weight-error"
    model: Path
    types: dict[str, tuple[str, ...]]
    importance: Path | None
    threads: int


class WeightErrorResult(_Frozen):
    """errors: {tensor: {type: relative weighted error}}, see weight_error.py."""

    errors: dict[str, dict[str, float]]


class ProbeSetting(_Frozen):
    """What assignments of types are measured on: windows of `window` tokens of a stream.

    logits: directory for the reference's logits, computed when they are not there; log: the file that a line is added to for
    each assignment. The rest as in QuantizeJob.
    """

    model: Path
    stream: Path
    window: int
    windows: tuple[int, ...]
    importance: Path | None
    threads: int
    blocks: Path
    origin: str
    logits: Path
    log: Path


class ProbeJob(_Frozen):
    """Measure what assignments of types do to a model's output (see probe.py).

    assignments: {tensor: type} of the tensors that are not as in the model.
    """

    kind: Literal["probe"] = "probe"
    setting: ProbeSetting
    assignments: tuple[dict[str, str], ...]


class Probed(_Frozen):
    """A line of a probe's log. key: of the assignment (`assignment_key`); kl: mean divergence from the reference by window,
    nats, over all tokens but the first; empty where logits were not finite."""

    key: str
    kl: tuple[float, ...]


class ProbeResult(_Frozen):
    """measured: number of assignments that were added to the log."""

    measured: int


class TypeOption(_Frozen):
    """A type that a tensor may take. cost: predicted divergence, nats; n_bytes: what the tensor takes in the file."""

    type: str
    cost: float
    n_bytes: int


class Allocation(_Frozen):
    """types: by tensor; cost: predicted, nats; n_bytes: of all tensors; gap: relative distance from the optimum, at most."""

    types: dict[str, str]
    cost: float
    n_bytes: int
    gap: float


class Trial(_Frozen):
    """An assignment that was tried. prediction: what its predictions were made with; kl: mean on the trial windows, nats."""

    prediction: str
    predicted: float
    gap: float
    kl: float


class SearchJob(_Frozen):
    """Find the assignment of least divergence within `budget` bytes of tensors (see search.py).

    options: the types that tensors may take, with what is predicted of them by `prediction`. groups: tensors whose
    predictions are scaled in turn; refinements: assignments to try beyond the predicted one. others: assignments to try
    besides, by name.
    """

    kind: Literal["search"] = "search"
    setting: ProbeSetting
    prediction: str
    options: dict[str, tuple[TypeOption, ...]]
    budget: int
    groups: dict[str, tuple[str, ...]]
    refinements: int
    others: dict[str, dict[str, str]] = {}


class SearchResult(_Frozen):
    """The best assignment, by tensor, with its trial, and all trials in order."""

    types: dict[str, str]
    best: Trial
    trials: tuple[Trial, ...]


def assignment_key(assignment: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(assignment.items())).encode()).hexdigest()[:16]


class MemoryJob(_Frozen):
    """What a context of `window` tokens takes beside the weights, in batches of `ubatch` (see memory.py)."""

    kind: Literal["memory"] = "memory"
    model: Path
    window: int
    ubatch: int = 512


class MeasureResult(_Frozen):
    """library: the engine of the very process that measured."""

    library: LibraryInfo
    windows: tuple[WindowResult, ...]


Job = Annotated[
    LibraryJob
    | TokenizeJob
    | ImportanceJob
    | PlanJob
    | QuantizeJob
    | MeasureJob
    | PropagationJob
    | WeightErrorJob
    | ProbeJob
    | SearchJob
    | EncodeJob
    | SolveJob
    | SampleJob
    | MemoryJob,
    Field(discriminator="kind"),
]
