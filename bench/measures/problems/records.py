"""Records of infill problems and conversations."""

from __future__ import annotations

from typing import Literal

from bench.core.values import Count, Name, Some
from bench.measures.problems.jobs import ProblemResult
from bench.records.identity import Kept
from bench.records.record import OfFile


class ProblemSetIdentity(Kept):
    """What figures of problems belong to. name, sha256: of the set; key: of the set as the model reads it, template and all; judge: what judges
    completed files, with versions; empty where nothing does, and in records of early versions."""

    name: Name
    problem_kind: Literal["fim", "code", "chat"]
    sha256: Name
    assistant_only: bool
    key: Name
    judge: str = ""


class ProblemRecord(OfFile):
    """A batch of problems of one recipe. batches: of the whole set; records of an early version lack it."""

    kind: Literal["problems"] = "problems"
    problem_set: ProblemSetIdentity
    batch: Count
    batches: Some | None = None
    results: tuple[ProblemResult, ...]

    @property
    def index(self) -> int:
        return self.batch
