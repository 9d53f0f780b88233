"""A task as this program works with it: requests to a model, and a judge of the answers. Where tasks come from is another module's concern."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.measures.tasks.jobs import Probability, Request, Written

Answer = Probability | Written


@dataclass(frozen=True)
class Judged:
    """What came of one question. item: its name within the task; group: its kind, or the part of the task that it is of.

    scores: 0 to 1 by the name of the metric, empty for one that failed; margin: how much more probable the right choice is than the best wrong one,
    nats, None where nothing was to be chosen; ended: whether all that was written for it came to an end, None where nothing was; failure: why there are no scores.
    """

    item: str
    group: str
    scores: Mapping[str, float]
    margin: float | None = None
    ended: bool | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Task:
    """name: in tables; asked: the name, of a group perhaps, that it was asked for with; source: what made it, with its version; sha256: of all that is asked and expected; chance: what guessing is worth, None where
    that is not known; settings: how texts are written, in words; judge: takes the answers to `requests`, in their order, and for those that could not be asked
    the reason; judge_sha256: of how it judges."""

    name: str
    asked: str
    source: str
    sha256: str
    requests: tuple[Request, ...]
    items: int
    chance: float | None
    settings: str
    judge: Callable[[Sequence[Answer | str]], Sequence[Judged]]
    judge_sha256: str = ""
