"""Records of tasks: raw answers by batch, and what came of each question."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from bench.core.values import Count, Name, Number, Some
from bench.measures.tasks.jobs import Probability, Written
from bench.measures.tasks.questions import Judged
from bench.records.identity import Kept
from bench.records.record import OfFile


class TaskIdentity(Kept):
    """What figures of a task belong to. name: in tables; asked: the name, of a group perhaps, that it was asked for with; source: what made it, with its version; sha256: of all that is asked and expected;
    items: questions; chance: what guessing is worth; settings: how texts are written; limit, shots, template: what was asked for beside its name; directory: name of the
    one with further tasks, None without; key: of the task as the model reads it; judge: SHA-256 of how it judges, which may change without anything
    being asked anew; cut: requests that lost their beginning, since the context does not hold them."""

    name: Name
    asked: Name
    source: Name
    sha256: Name
    items: Some
    chance: Number | None
    settings: str
    limit: Some | None = None
    shots: Count | None = None
    template: bool = False
    directory: Name | None = None
    key: Name
    judge: str = ""
    cut: Count = 0

    @property
    def put(self) -> str:
        """The options, beside --tasks, that it was asked with; each begins with a blank."""
        said = "" if self.directory is None else f" --task-path {shlex.quote(self.directory)}"
        said += "" if self.limit is None else f" --limit {self.limit}"
        said += "" if self.shots is None else f" --shots {self.shots}"
        return said + (" --task-template" if self.template else "")


class AnswerRecord(OfFile):
    """What a file answered to a batch of requests. batches: of the whole task."""

    kind: Literal["answers"] = "answers"
    task: TaskIdentity
    batch: Count
    batches: Some
    probabilities: tuple[Probability, ...] = ()
    written: tuple[Written, ...] = ()

    @property
    def index(self) -> int:
        return self.batch


class ItemScore(Kept):
    """What came of a question: see questions.Judged."""

    item: Name
    group: Name
    scores: dict[Name, Annotated[float, Field(ge=0, le=1)]]
    margin: Number | None = None
    ended: bool | None = None
    failure: str | None = None


def judged_items(judged: Iterable[Judged]) -> tuple[ItemScore, ...]:
    """What a judge found, as it is kept."""
    return tuple(
        ItemScore(item=j.item, group=j.group, scores=dict(j.scores), margin=j.margin, ended=j.ended, failure=j.failure)
        for j in judged
    )


class TaskRecord(OfFile):
    """What came of all questions of a task, judged from all answers of a file."""

    kind: Literal["task"] = "task"
    task: TaskIdentity
    items: Annotated[tuple[ItemScore, ...], Field(min_length=1)]
