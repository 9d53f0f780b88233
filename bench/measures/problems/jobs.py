"""Jobs for infill problems and conversations: requests to a worker, and its answers."""

from __future__ import annotations

from typing import ClassVar

from bench.core.values import Count, Name, Number, Some
from bench.execute.content import Content
from bench.execute.job import Frozen, Job


class EncodedStop(Frozen):
    """Where a completion ends: see sets.Stop."""

    single_line: bool
    next_line: str
    limit: int
    lines: int


class EncodedProblem(Frozen):
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


class EncodedSet(Frozen):
    """Problems in batches, of which one at a time has its logits kept."""

    batches: tuple[tuple[EncodedProblem, ...], ...]


class EncodeResult(Frozen):
    """rows: scored tokens of the largest batch; left_out: why, by name of the problem."""

    batches: int
    rows: int
    problems: int
    left_out: dict[str, str]


class EncodeJob(Job[EncodeResult]):
    """Turn a set of problems into tokens under a model's vocabulary and chat template.

    problems: the name of a fixed set, or the user's own file of JSON lines; context: tokens that a problem may have with its
    completion; assistant_only: score the assistant's tokens only; out: an EncodedSet as JSON.
    """

    done_by: ClassVar[str] = "bench.measures.problems.encode:encode"

    model: Content
    problems: str | Content
    template: str | None
    context: int
    assistant_only: bool
    out: Content


class ProblemResult(Frozen):
    """Raw values of one problem. tokens: scored; nll, kl: sums over them, nats, kl None without a comparison.

    correct, same_top: tokens whose likeliest token is the right one, and the reference's. completion: what the model wrote up to
    where it stops, expected: what was wanted; None where nothing was to be completed. parses, passes: whether the file with the
    completion in its gap parses, and whether its doctests pass; None where that was not judged, as in records of early versions.
    """

    name: Name
    group: Name
    tokens: Some
    nll: Number
    correct: Count
    kl: Number | None = None
    same_top: Count | None = None
    completion: str | None = None
    expected: str | None = None
    parses: bool | None = None
    passes: bool | None = None


class SolveResult(Frozen):
    results: tuple[ProblemResult, ...]


class SolveJob(Job[SolveResult]):
    """Score a batch of encoded problems, and complete those that ask for it, token by token and always the likeliest.

    problems: the encoded set. write_logits: keep the logits of all scored tokens of the batch there; reference_logits: compare
    with those.
    """

    done_by: ClassVar[str] = "bench.measures.problems.solve:solve"
    pinned: ClassVar[bool] = True

    model: Content
    problems: Content
    batch: int
    threads: int
    write_logits: Content | None = None
    reference_logits: Content | None = None


class CompletedFile(Frozen):
    """A file whose gap is filled. language: whose grammar it is to be parsed with (grammars.py), None for none; doctests: texts with
    doctests that are to be run on it as a Python module."""

    language: str | None
    text: str
    doctests: tuple[str, ...]


class Verdict(Frozen):
    """Whether a completed file parses and its doctests pass; None for what was not asked."""

    parses: bool | None
    passes: bool | None


class JudgeResult(Frozen):
    verdicts: tuple[Verdict, ...]


class JudgeJob(Job[JudgeResult]):
    """Judge completed files, in their order. Doctests are run in a locked-down process (sandbox.py)."""

    done_by: ClassVar[str] = "bench.measures.problems.judge:judge"

    files: tuple[CompletedFile, ...]
