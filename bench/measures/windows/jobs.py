"""Jobs for windows: requests to a worker, and its answers in raw values."""

from __future__ import annotations

import base64
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from bench.core.energy import Source
from bench.core.machine import Activity
from bench.core.values import Amount, Count, Name, Number, Packed, Seconds, Some
from bench.engine.settings import LibraryInfo, Settings
from bench.execute.content import Content
from bench.execute.job import Frozen, Job


class KindSums(Frozen):
    """Sums over the scored tokens of one kind of prompt: their number, NLL in nats, squares of the NLL. Against the reference, as engine/scoring.py has
    them, None for the reference itself and in records of an early version: reverse_kl, nats; overlap. n_bytes, n_words: of the text that these tokens spell; None in
    records of an early version."""

    tokens: Some
    nll: Number
    squares: Amount
    reverse_kl: Number | None = None
    overlap: Amount | None = None
    n_bytes: Count | None = None
    n_words: Count | None = None


#: Ranges of the reference's largest probability, as exllamav3's qbench has them.
SURETIES = 5


class Surety(Frozen):
    """Sums over the scored tokens for which the reference's largest probability lies in one of five equal ranges. kl: nats."""

    tokens: Count
    kl: Number


class TokenData(Frozen):
    """Scores of the scored tokens of a window, packed (see pack): one entry a token, in the text's order.

    kinds: uint8 indices into kind_names; nll: float32, nats; flags: uint8, the sum of TOP_IS_CORRECT,
    REFERENCE_TOP_IS_CORRECT and SAME_TOP where they hold. Against the reference, None for the reference itself:
    kl: float32, nats; p_change: float32, probability of the correct token minus the reference's.
    """

    kind_names: tuple[str, ...]
    kinds: Packed
    nll: Packed
    flags: Packed
    kl: Packed | None = None
    p_change: Packed | None = None

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        arrays = {n: unpack(text, dtype) for n, dtype in _PACKED.items() if (text := getattr(self, n)) is not None}
        if len({len(a) for a in arrays.values()}) != 1:
            raise ValueError("its values are not of the same number of tokens")
        if arrays["kinds"].max() >= len(self.kind_names):
            raise ValueError("a kind has no name")
        if not all(np.isfinite(a).all() for a in arrays.values()):
            raise ValueError("its values are not finite")
        return self


_PACKED: dict[str, type[np.generic]] = {
    "kinds": np.uint8, "flags": np.uint8, "nll": np.float32, "kl": np.float32, "p_change": np.float32,
}  # fmt: skip


TOP_IS_CORRECT, REFERENCE_TOP_IS_CORRECT, SAME_TOP = 1, 2, 4


def pack(values: NDArray[Any], dtype: type[np.generic]) -> str:
    """An array as base64 of its little-endian bytes, for a record that stays one line of text."""
    return base64.b64encode(np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<")).tobytes()).decode("ascii")


def unpack(text: str, dtype: type[np.generic]) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), np.dtype(dtype).newbyteorder("<"))


class Gauge(Frozen):
    """The counter of energy of a measurement. source: how it was read; memory: whether that of the memory is in it; idle_watts: of the
    processors' packages before the first timed step, while nothing of ours computed."""

    source: Source
    memory: bool
    idle_watts: Amount


class Energy(Gauge):
    """What the processors' packages took while a window of one file was timed, in joules, whatever computed on them: without the turns of
    other files, and with their power at rest.

    window: over WindowResult.seconds; generation: over its generate_seconds, None where nothing was generated.
    """

    window: Amount
    generation: Amount | None


class WindowResult(Frozen):
    """Raw values of one window of one file. by_surety: by how sure the reference was, from the least sure; None where KindSums has no distances either. Times, and what the CPUs did meanwhile, are None in a run that measures no speeds.

    steps: seconds of each llama_decode that the window takes, one a ubatch, in the order of their depth; seconds: their sum.
    generate_steps: seconds of each of Settings.generate tokens; generate_seconds: their sum. Both lists are None where a run before them
    timed the whole only. pieces: float32, seconds of the short pieces that steps were cut into, packed, in their order; None where they were not. load_seconds: model and context; peak_memory_bytes: of the process up to the end of this window's scoring; scoring_seconds: from logits to scores, the
    reference's logits read or written. energy: None where no counter could be read. looks: how many looks the run of it has (statistics/sequential.py); no part of what is kept.
    """

    window: Count
    by_kind: Annotated[dict[Name, KindSums], Field(min_length=1, max_length=1000)]
    tokens: TokenData | None = None
    by_surety: Annotated[tuple[Surety, ...], Field(min_length=SURETIES, max_length=SURETIES)] | None = None
    seconds: Seconds | None
    activity: Activity | None
    generate_seconds: Seconds | None
    steps: Annotated[tuple[Seconds, ...], Field(min_length=1)] | None = None
    pieces: Packed | None = None
    generate_steps: Annotated[tuple[Seconds, ...], Field(min_length=1)] | None = None
    load_seconds: Amount | None
    peak_memory_bytes: Count
    scoring_seconds: Amount | None = None
    energy: Energy | None = None
    looks: int = Field(default=1, exclude=True)

    def untimed(self) -> Self:
        """The same without what a run leaves out that measures no speeds: nothing that it was timed with compares."""
        return self.model_copy(update=dict.fromkeys(_OF_TIME))

    def timed_by(self, other: Self) -> Self:
        """These scores with the times of another measurement of the same window, and its memory."""
        names = (*_OF_TIME, "peak_memory_bytes")
        return self.model_copy(update={name: getattr(other, name) for name in names if name != "scoring_seconds"})

    @property
    def is_timed(self) -> bool:
        """Whether it has what every window of a run has that measures speeds."""
        return None not in (self.seconds, self.activity, self.load_seconds)

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if self.tokens is not None:
            counts = np.bincount(unpack(self.tokens.kinds, np.uint8))
            of_values = {self.tokens.kind_names[i]: int(n) for i, n in enumerate(counts) if n}
            if of_values != {kind: s.tokens for kind, s in self.by_kind.items()}:
                raise ValueError("sums and values are not of the same tokens")
        return self


_OF_TIME = (
    "seconds", "activity", "generate_seconds", "steps", "pieces", "generate_steps", "load_seconds", "scoring_seconds", "energy",
)  # fmt: skip


class MeasureResult(Frozen):
    """library: the engine of the very process that measured."""

    library: LibraryInfo
    windows: tuple[WindowResult, ...]


class MeasureJob(Job[MeasureResult]):
    """Score windows of a token stream, one file alone.

    timed: by pytest-benchmark, for figures that are compared; flash: whether flash attention is allowed. write_logits: keep the logits of the scored tokens there, for
    the recipes to be compared with; reference_logits: compare with those. The file holds one window: a job of several writes
    one over the other, so only files that are scored side by side (PassJob) can compare several.
    """

    done_by: ClassVar[str] = "bench.measures.windows.score:measure_job"
    pinned: ClassVar[bool] = True

    model: Content
    stream: Content
    windows: tuple[int, ...]
    settings: Settings
    timed: bool = True
    flash: bool = True
    write_logits: Content | None = None
    reference_logits: Content | None = None

    def preloads(self) -> tuple[str, ...]:
        return ("bench.measures.windows.score", *(["bench.measures.windows.timing"] if self.timed else []))


class SideResult(Frozen):
    """What came of one of the files of a pass: its windows, or the reason why there are none. still: the longest time in seconds for
    which the machine stood still in one of its steps; is_damage: whether the reason is that the reference's logits are not as they
    were written."""

    windows: tuple[WindowResult, ...] = ()
    still: Amount = 0.0
    error: str | None = None
    is_damage: bool = False


class PassResult(Frozen):
    """library: the engine of the very processes that measured; files: in the order of the job's."""

    library: LibraryInfo
    files: tuple[SideResult, ...]


class PassJob(Job[PassResult]):
    """Score, and time where they are timed, the same windows of several files side by side, step by step in turn.

    files: each as it would be measured alone; the first leads where it writes the logits that others are compared with. All
    have scored a window before any begins the next, so that its logits may take the place of the last one's. Where nothing is timed,
    each of several windows is told as soon as all have scored it. Without their leader they go no further.
    backwards: whether turns are taken in the opposite order.
    """

    done_by: ClassVar[str] = "bench.measures.windows.side_by_side:pass_job"
    pinned: ClassVar[bool] = True

    files: Annotated[tuple[MeasureJob, ...], Field(min_length=1)]
    backwards: bool = False

    def preloads(self) -> tuple[str, ...]:
        return ("bench.measures.windows.side_by_side", *self.files[0].preloads())
