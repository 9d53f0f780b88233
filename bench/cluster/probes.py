"""What types are chosen by, at sites: assignments that are measured, and the search for the best one of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.choose.jobs import Choice, Probed, SearchResult
from bench.cluster.connection import Question
from bench.cluster.protocol import ProbeAnswer, ProbeRequest, SearchAnswer, SearchRequest
from bench.cluster.sites import Member, Sites
from bench.cluster.units import spread
from bench.core.errors import MeasurementError

#: Assignments that a site is asked for at a time: few, so that all sites end together.
AT_ONCE = 8


@dataclass(frozen=True)
class ProbesElsewhere:
    """Probes that sites measure (choose/prober.py)."""

    sites: Sites

    def probe(
        self,
        assignments: Sequence[dict[str, str]],
        windows: tuple[int, ...],
        length: int,
        keep: Callable[[Probed], None],
    ) -> None:
        """Measure assignments and hand each on as it comes. Raises MeasurementError for what failed at two sites."""
        task = _Probes(self.sites, tuple(assignments), windows, length, keep, [])
        left = spread(
            self.sites, task, range(0, len(assignments), AT_ONCE), only=lambda site, _: self.sites.scores(site)
        )
        if task.failed or left:
            raise MeasurementError(f"sensitivities were not measured at {next(iter(task.failed), 'any site')}")

    def search(self, choices: Mapping[str, Choice], keep: Callable[[str, SearchResult], None]) -> None:
        """Make choices, each at one site. What failed at two is told, and left out."""
        searches = _Searches(self.sites, choices, keep)
        spread(self.sites, searches, list(choices), only=lambda site, _: self.sites.scores(site))


@dataclass(frozen=True)
class _Searches:
    sites: Sites
    choices: Mapping[str, Choice]
    keep: Callable[[str, SearchResult], None]
    question: ClassVar[Question] = "search"
    answers: type[SearchAnswer] = SearchAnswer

    def request(self, unit: str) -> str:
        """unit: name of the recipe."""
        return SearchRequest(setup=self.sites.key, choice=self.choices[unit]).model_dump_json()

    def take(self, unit: str, site: Member, answer: SearchAnswer) -> str | None:
        if answer.found is None:
            return "found nothing"
        self.keep(unit, answer.found)
        return None

    def give_up(self, unit: str, reason: str) -> None:
        self.sites.reporter.warn(f"{unit}: types were not chosen at {reason}; they are chosen at the coordinator")


@dataclass(frozen=True)
class _Probes:
    sites: Sites
    assignments: tuple[dict[str, str], ...]
    windows: tuple[int, ...]
    length: int
    keep: Callable[[Probed], None]
    failed: list[str]
    question: ClassVar[Question] = "probe"
    answers: type[ProbeAnswer] = ProbeAnswer

    def request(self, unit: int) -> str:
        """unit: the first of the assignments."""
        wanted = self.assignments[unit : unit + AT_ONCE]
        asked = ProbeRequest(setup=self.sites.key, assignments=wanted, windows=self.windows, length=self.length)
        return asked.model_dump_json()

    def take(self, unit: int, site: Member, answer: ProbeAnswer) -> None:
        for probed in answer.measured:
            self.keep(probed)

    def give_up(self, unit: int, reason: str) -> None:
        self.failed.append(reason)
