"""The declaration of infill problems and conversations as a measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from bench.measures.frames import Frame
from bench.measures.measure import Measure
from bench.measures.plan import Plan, Stage
from bench.measures.problems import tables
from bench.measures.problems.frames import FRAME
from bench.measures.problems.options import Asked
from bench.measures.problems.records import ProblemRecord
from bench.measures.problems.runs import judges, problem_sets
from bench.measures.problems.sets import FIM
from bench.measures.problems.stage import Problems, encoded_sets
from bench.measures.sections import FileColumn, Section, Table
from bench.records.record import Record
from bench.records.run import Run

_FILLED = "{title}: share of gaps in code that are filled to the letter"


class InfillAndChat(Measure):
    """Infill problems and conversations: each set on its own."""

    name = "problems"
    order = 20
    records: ClassVar[tuple[type[Record], ...]] = (ProblemRecord,)
    options = Asked

    def stage(self, plan: Plan, asked: Asked) -> Stage | None:
        sets = encoded_sets(asked.kinds, plan.work, assistant_only=asked.assistant_only)
        return Problems(plan, tuple(sets)) if sets else None

    def repeat(self, run: Run) -> Sequence[str]:
        sets = problem_sets(run)
        if not sets:
            return []
        kinds = ["--kinds", ",".join(dict.fromkeys(p.name for p in sets))]
        return kinds + (["--assistant-only"] if any(p.assistant_only for p in sets) else [])

    def identities(self, run: Run) -> Mapping[str, object]:
        sets = problem_sets(run)
        hashes = {f"{p.name}, SHA-256": p.sha256 for p in sets}
        judged = {f"{p.name}, completed files judged by": " and ".join(judges(run, p.key)) for p in sets}
        return hashes | {what: by for what, by in judged.items() if by}

    def abilities(self, run: Run) -> Sequence[str]:
        return ["infill"] if any(p.problem_kind == FIM for p in problem_sets(run)) else []

    def sections(self, run: Run) -> Sequence[Section]:
        found = []
        for n, problems in enumerate(problem_sets(run)):
            title, name = tables.title(problems), f"problems-{n}"
            scored = tables.problem_table(run, problems)
            made = [Table(f"{name}-scores", title, scored, key=tables.key(run, problems))]
            if len(groups := tables.groups_table(run, problems)):
                caption = f"{title}: perplexity by group"
                made.append(Table(f"{name}-groups", caption, groups, label="Perplexity by group:"))
            found.append(Section(title, name, tuple(made)))
        return found

    def file_columns(self, run: Run) -> Sequence[FileColumn]:
        """Of infill only, which is what one takes a code model for."""
        return [
            FileColumn(title, cells, values, card=_FILLED.format(title=title))
            for title, cells, values in tables.filled(run)
        ]

    def file_key(self, run: Run, *, everywhere: bool) -> Sequence[str]:
        return [_FILLED.format(title=title) for title, *_ in tables.filled(run)]

    def frames(self) -> Sequence[Frame]:
        return [FRAME]

    def json(self, run: Run) -> Mapping[str, object]:
        sets = problem_sets(run)
        return {"problems": {tables.title(p): tables.problem_table(run, p).to_dict("records") for p in sets}}


MEASURE = InfillAndChat()
