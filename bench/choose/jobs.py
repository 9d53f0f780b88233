"""Jobs for choosing types: requests to a worker, and its answers."""

from __future__ import annotations

import hashlib
import json
from typing import ClassVar

from pydantic import Field

from bench.engine.settings import Offload
from bench.execute.content import Content
from bench.execute.job import Frozen, Job


class ProbeSetting(Frozen):
    """What assignments of types are measured on: windows of `window` tokens of a stream.

    logits: what the names of files with the reference's logits begin with, which are computed when they are not there; log:
    the file that a line is added to for each assignment; offload: the device that computes, None for the CPU. The rest as in QuantizeJob.
    """

    model: Content
    stream: Content
    window: int
    windows: tuple[int, ...]
    importance: Content | None
    threads: int
    origin: str
    logits: str
    log: Content
    offload: Offload | None = None

    def logits_of(self, window: int) -> Content:
        return Content(name=f"{self.logits}/{self.window}-{window}.logits")


class Probed(Frozen):
    """A line of a probe's log. key: of the assignment (`assignment_key`); kl: mean divergence from the reference by window,
    nats, over all tokens but the first; empty where logits were not finite."""

    key: str
    kl: tuple[float, ...]


class ProbeResult(Frozen):
    """measured: number of assignments that were added to the log. damaged: as in QuantizeResult."""

    measured: int
    damaged: tuple[str, ...] = ()


class ProbeJob(Job[ProbeResult]):
    """Measure what assignments of types do to a model's output (see probe.py).

    assignments: {tensor: type} of the tensors that are not as in the model.
    """

    done_by: ClassVar[str] = "bench.choose.probe:probe"
    pinned: ClassVar[bool] = True

    setting: ProbeSetting
    assignments: tuple[dict[str, str], ...]

    def model_file(self) -> Content:
        return self.setting.model


class TypeOption(Frozen):
    """A type that a tensor may take. cost: predicted divergence, nats; n_bytes: what the tensor takes in the file."""

    type: str
    cost: float
    n_bytes: int


#: What each tensor may take.
Options = dict[str, tuple[TypeOption, ...]]


class Limit(Frozen):
    """Bytes that some tensors may take together."""

    tensors: tuple[str, ...]
    n_bytes: int


class Allocation(Frozen):
    """types: by tensor; cost: predicted, nats; n_bytes: of all tensors; gap: relative distance from the optimum, at most."""

    types: dict[str, str]
    cost: float
    n_bytes: int
    gap: float


class Trial(Frozen):
    """An assignment that was tried. prediction: what its predictions were made with; kl: mean on the windows that it was tried on, nats: of those
    that lost the first round on its windows, of the others on all; windows: their number."""

    prediction: str
    predicted: float
    gap: float
    kl: float
    windows: int = 0


class SearchResult(Frozen):
    """The best assignment, by tensor, with its trial, and all trials in order. damaged: as in QuantizeResult."""

    types: dict[str, str]
    best: Trial
    trials: tuple[Trial, ...]
    damaged: tuple[str, ...] = ()


class Choice(Frozen):
    """A choice that is to be made: the assignment of least divergence within every limit.

    options: the types that tensors may take, with what is predicted of them by `prediction`. limits: every tensor is in one of
    them; together: tensors that get one type, each group within one limit. groups: tensors whose
    predictions are scaled in turn; refinements: assignments to try beyond the predicted one. others: assignments to try
    besides, by name.
    """

    prediction: str
    options: Options
    limits: tuple[Limit, ...]
    together: tuple[tuple[str, ...], ...] = ()
    groups: dict[str, tuple[str, ...]]
    refinements: int
    others: dict[str, dict[str, str]] = Field(default_factory=dict)


class SearchJob(Choice, Job[SearchResult]):
    """Make a choice (see search.py).

    first: how many of the setting's windows assignments are tried on in the first round; finalists: how many of them are tried on the
    others too.
    """

    done_by: ClassVar[str] = "bench.choose.search:search"
    pinned: ClassVar[bool] = True

    setting: ProbeSetting
    first: int
    finalists: int

    def model_file(self) -> Content:
        return self.setting.model


def assignment_key(assignment: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(assignment.items())).encode()).hexdigest()[:16]
