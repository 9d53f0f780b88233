"""The declaration of samples as a measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from bench.measures.frames import Frame
from bench.measures.measure import Measure
from bench.measures.plan import Plan, Stage
from bench.measures.samples.frames import FRAME
from bench.measures.samples.options import Asked
from bench.measures.samples.records import SampleRecord
from bench.measures.samples.runs import samples_of
from bench.measures.samples.stage import Samples, sample_prompts
from bench.measures.samples.tables import section
from bench.measures.sections import Section
from bench.records.record import Record
from bench.records.run import Run


class SideBySide(Measure):
    """The same beginnings completed by every file, side by side."""

    name = "samples"
    order = 30
    records: ClassVar[tuple[type[Record], ...]] = (SampleRecord,)
    options = Asked

    def stage(self, plan: Plan, asked: Asked) -> Stage | None:
        return Samples(plan, sample_prompts(asked.prompts), asked.samples) if asked.samples else None

    def repeat(self, run: Run) -> Sequence[str]:
        samples = samples_of(run)
        return ["--samples", str(next(iter(samples.values())).limit)] if samples else []

    def sections(self, run: Run) -> Sequence[Section]:
        return section(run)

    def frames(self) -> Sequence[Frame]:
        return [FRAME]

    def json(self, run: Run) -> Mapping[str, object]:
        found = samples_of(run).values()
        return {"samples": [r.model_dump(mode="json", exclude={"run", "kind"}) for r in found]}


MEASURE = SideBySide()
