"""Parts of a stage, measured at sites: their records are taken over into the run's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from bench.cluster.connection import Question
from bench.cluster.protocol import PartAnswer, PartRequest
from bench.cluster.sites import Member, Sites
from bench.cluster.units import spread
from bench.core.progress import Steps
from bench.measures.plan import Looking, Part, Stage, parts_of
from bench.measures.registry import all_measures, record_types
from bench.records.record import FailureRecord, FileRecord, LookRecord, OfFile, Record, SiteRecord
from bench.records.run import parsed
from bench.records.store import RunStore


def measure(sites: Sites, stage: Stage, name: str, store: RunStore, *, essential: bool) -> None:
    """Have all parts of a stage measured and put their records into the store. name: of the measure; essential: whether what fails at two
    sites goes on record as failed, and not only stays pending."""
    given_up: set[Part] = set()
    while True:
        windows, parts = store.run.windows, [p for p in parts_of(stage, store.run) if p not in given_up]
        before, total = stage.progress(store.run)
        if parts:
            with sites.reporter.steps(stage.title, total - before) as steps:
                task = _Parts(sites, stage, name, store, essential, steps)
                given_up |= spread(sites, task, parts, only=task.may)
        if not (isinstance(stage, Looking) and stage.looked(store)) or store.run.windows == windows:
            return


#: The measure that a device scores.
_SCORED = "windows"


@dataclass(frozen=True)
class _Parts:
    sites: Sites
    stage: Stage
    measure: str
    store: RunStore
    essential: bool
    steps: Steps
    #: Why files are missing, by part.
    reasons: dict[Part, dict[str, str]] = field(default_factory=dict)
    question: ClassVar[Question] = "measure"
    answers: type[PartAnswer] = PartAnswer

    def may(self, site: Member, unit: Part) -> bool:
        """Whether a site has what a part needs: the device that scores windows, or the CPU that is timed. Other measures compute on any CPU."""
        if unit.what == "times":
            return self.sites.times(site)
        return self.measure != _SCORED or self.sites.scores(site)

    def request(self, unit: Part) -> str:
        """The part, with what is on record of it: a site does only what is lacking."""

        kinds: tuple[type[Record], ...] = (FileRecord, LookRecord, *self._kinds)
        known = (r for r in self.store.run.records if isinstance(r, kinds) and unit.has(index=r.index))
        lines = tuple(r.model_dump_json() for r in known)
        asked = PartRequest(
            setup=self.sites.key,
            measure=self.measure,
            names=unit.names,
            indices=unit.indices,
            what=unit.what,
            records=lines,
        )
        return asked.model_dump_json()

    @property
    def _kinds(self) -> tuple[type[Record], ...]:
        return next(m.records for m in all_measures() if m.name == self.measure)

    def take(self, unit: Part, site: Member, answer: PartAnswer) -> str | None:
        if answer.records:
            self._record(site)
        done, _ = self.stage.progress(self.store.run)
        for line in answer.records:
            record = parsed(line, record_types(), self.store.run.identity)
            self.store.append(record.model_copy(update={"site": site.name}))
        now, _ = self.stage.progress(self.store.run)
        self.steps.name(site.name)
        self.steps.done(now - done)
        self.reasons[unit] = answer.failed
        return next(iter(answer.failed.values()), None)

    def give_up(self, unit: Part, reason: str) -> None:
        self.sites.reporter.warn(f"{self.stage.title}: a part failed at {reason}")
        run = self.store.run
        for index in (unit.indices or ()) if self.essential else ():
            there = {
                r.recipe
                for r in run.records
                if isinstance(r, self._kinds) and isinstance(r, OfFile) and r.index == index and unit.is_about(r.kind)
            }
            for name in sorted(self.stage.pending(run) - there):
                why = self.reasons.get(unit, {}).get(name, reason)
                self.store.append(FailureRecord(run=run.header.id, recipe=name, window=index, reason=why))

    def _record(self, site: Member) -> None:
        """What a site is goes on record once, before the first thing that it measured."""
        assert site.report is not None
        offload = self.sites.required.offload
        found = SiteRecord(
            run=self.store.run.header.id,
            site=site.name,
            machine=site.report.machine,
            scores_on=offload.in_words if offload is not None and self.sites.scores(site) else None,
        )
        known = {(r.site, r.machine, r.scores_on) for r in self.store.run.of(SiteRecord)}
        if (found.site, found.machine, found.scores_on) not in known:
            self.store.append(found)
