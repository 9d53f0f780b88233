"""Jobs about problems and samples, and what workers answer. Part of jobs.py, which has the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class EncodedStop(_Frozen):
    """Where a completion ends: see problems.Stop."""

    single_line: bool
    next_line: str
    limit: int
    lines: int


class EncodedProblem(_Frozen):
    """A problem as tokens. scored: ranges of token indices that are scored, each by the logits before it.

    prompt: how many tokens a completion goes on from, with `expected` as the text that is wanted and `stop`; None for
    what is scored only.
    """

    name: str
    group: str
    tokens: tuple[int, ...]
    scored: tuple[tuple[int, int], ...]
    prompt: int | None = None
    expected: str | None = None
    stop: EncodedStop | None = None

    @property
    def n_scored(self) -> int:
        return sum(end - start for start, end in self.scored)


class EncodedSet(_Frozen):
    """Problems in batches, of which one at a time has its logits kept."""

    batches: tuple[tuple[EncodedProblem, ...], ...]


class EncodeJob(_Frozen):
    """Turn a set of problems (problems.problem_set) into tokens under a model's vocabulary and chat template.

    context: tokens that a problem may have with its completion; assistant_only: score the assistant's tokens only.
    """

    kind: Literal["encode"] = "encode"
    model: Path
    problems: str
    template: str | None
    context: int
    assistant_only: bool
    out: Path


class EncodeResult(_Frozen):
    """rows: scored tokens of the largest batch; left_out: why, by name of the problem."""

    batches: int
    rows: int
    problems: int
    left_out: dict[str, str]


class SolveJob(_Frozen):
    """Score a batch of encoded problems, and complete those that ask for it, token by token and always the likeliest.

    write_logits, reference_logits: as in MeasureJob, for all scored tokens of the batch.
    """

    kind: Literal["solve"] = "solve"
    model: Path
    problems: Path
    batch: int
    threads: int
    write_logits: Path | None = None
    reference_logits: Path | None = None


class ProblemResult(_Frozen):
    """Raw values of one problem. tokens: scored; nll, kl: sums over them, nats, kl None without a comparison.

    correct, same_top: tokens whose likeliest token is the right one, and the reference's. completion: what the model wrote up to
    where it stops, expected: what was wanted; None where nothing was to be completed.
    """

    name: str
    group: str
    tokens: int
    nll: float
    correct: int
    kl: float | None = None
    same_top: int | None = None
    completion: str | None = None
    expected: str | None = None


class SolveResult(_Frozen):
    results: tuple[ProblemResult, ...]


class SampleJob(_Frozen):
    """Complete texts, always with the likeliest token. limit: tokens of a completion."""

    kind: Literal["sample"] = "sample"
    model: Path
    prompts: tuple[str, ...]
    limit: int
    threads: int


class Completion(_Frozen):
    """What a model wrote after a prompt. ended: whether it said so itself, before the limit."""

    tokens: tuple[int, ...]
    text: str
    ended: bool


class SampleResult(_Frozen):
    completions: tuple[Completion, ...]
