"""Units of work that go to sites, until all are done: what waits, what is tried again, and what is given up.

A unit that was lost with its site, or that went wrong there, is tried at one more site. Towards the end, sites that have nothing left to do take
over what a slow one is at: the first answer counts.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import ClassVar, Generic, Protocol, TypeVar

from bench.cluster.connection import LostSiteError, Question
from bench.cluster.protocol import UnitAnswer
from bench.cluster.sites import Member, Sites

#: A unit is tried at so many sites.
_TRIES = 2
#: A unit that takes so many times as long as others did is done at an idle site too.
_SLOW = 2.0

Unit = TypeVar("Unit", bound=Hashable)
Answer = TypeVar("Answer", bound=UnitAnswer)
#: The same of a task, which takes any more general ones.
Asked = TypeVar("Asked", bound=Hashable, contravariant=True)


class Task(Protocol[Asked, Answer]):
    """What units are of, and what becomes of their answers. question, answers: what a site is asked, and the type of what it says."""

    question: ClassVar[Question]

    @property
    def answers(self) -> type[Answer]: ...

    def request(self, unit: Asked) -> str:
        """What a site is asked, as JSON."""

    def take(self, unit: Asked, site: Member, answer: Answer) -> str | None:
        """Keep what a site answered; returns why the unit is not done with it, None where it is."""

    def give_up(self, unit: Asked, reason: str) -> None:
        """It failed wherever it was tried."""


@dataclass
class _Try(Generic[Unit]):
    """A unit at a site. began: seconds of the monotonic clock."""

    unit: Unit
    site: Member
    began: float


def spread(
    sites: Sites,
    task: Task[Unit, Answer],
    units: Sequence[Unit],
    *,
    only: Callable[[Member, Unit], bool] | None = None,
    waits: bool = True,
) -> set[Unit]:
    """Have all units done, by any site in any order; returns what was given up. only: whether a site may do a unit, None for any. waits: whether
    a site is waited for that may do what none of those that are there may; else it is given up."""
    return _Spread(sites, task, units, only, waits).finish()


class _Spread(Generic[Unit, Answer]):
    def __init__(
        self,
        sites: Sites,
        task: Task[Unit, Answer],
        units: Sequence[Unit],
        only: Callable[[Member, Unit], bool] | None,
        waits: bool,
    ) -> None:
        self._sites, self._task, self._only, self._waits = sites, task, only, waits
        self._waiting = deque(units)
        self._tried: dict[Unit, list[Member]] = {u: [] for u in units}
        self._given_up: set[Unit] = set()
        self._under_way: dict[int, _Try[Unit]] = {}
        #: Seconds that units took, by what is asked of windows: times take longer than scores of a device.
        self._taken: defaultdict[object, list[float]] = defaultdict(list)

    def finish(self) -> set[Unit]:
        while self._tried:
            self._sites.look(wait=True)
            self._look_for_sites()
            self._hand_out()
            for number, answer in self._sites.answers():
                if (trial := self._under_way.pop(number, None)) is not None:
                    self._take(trial, answer)
        self._sites.drop(self._under_way)
        return self._given_up

    def _may(self, site: Member, unit: Unit) -> bool:
        return self._only is None or self._only(site, unit)

    def _look_for_sites(self) -> None:
        """What none of the sites that are there may do waits for one that may, or is given up where nothing is waited for."""
        if self._only is None:
            return
        busy = {t.unit for t in self._under_way.values()}
        lost = [u for u in self._tried if u not in busy and not self._sites.has(lambda site, u=u: self._may(site, u))]  # type: ignore[misc]
        if self._waits:
            if lost:
                self._sites.tell_of_waiting()
            return
        for unit in lost:
            self._given_up.add(unit)
            del self._tried[unit]
            if unit in self._waiting:
                self._waiting.remove(unit)

    def _hand_out(self) -> None:
        for site in self._sites.idle():
            unit = self._next_for(site)
            if unit is None:
                continue
            self._tried[unit].append(site)
            trial = _Try(unit, site, time.monotonic())
            self._under_way[self._sites.ask(site, self._task.question, self._task.request(unit))] = trial

    def _next_for(self, site: Member) -> Unit | None:
        """What is waiting, and not what failed at this very site while there are others; else what a slow site is at."""
        for unit in self._waiting:
            tried = self._tried[unit]
            if not self._may(site, unit):
                continue
            if any(m.is_same(site) for m in tried) and self._sites.has_beside(tried, lambda s, u=unit: self._may(s, u)):  # type: ignore[misc]
                continue
            self._waiting.remove(unit)
            return unit
        if any(self._may(site, u) for u in self._waiting):
            return None
        for trial in self._under_way.values():
            like = self._taken[getattr(trial.unit, "what", None)]
            is_late = bool(like) and time.monotonic() - trial.began > _SLOW * median(like)
            if is_late and self._may(site, trial.unit) and len(self._tried.get(trial.unit, ())) == 1:
                return trial.unit
        return None

    def _take(self, trial: _Try[Unit], came: str | LostSiteError) -> None:
        unit = trial.unit
        if unit not in self._tried:  # another site was faster
            return
        if isinstance(came, LostSiteError):
            if came.everywhere:  # which says nothing of the unit
                self._untried(trial)
            self._again(unit, came.reason or f"{trial.site.name} was lost")
            return
        answer = self._task.answers.model_validate_json(came)
        if answer.unknown:
            self._sites.prepare(trial.site)
            self._untried(trial)
            self._again(unit, "")
            return
        for text in answer.warnings:
            self._sites.reporter.warn(f"{trial.site.name}: {text}")
        reason = answer.error or self._task.take(unit, trial.site, answer)
        if reason is not None:
            self._sites.failed(trial.site, reason, lambda site: self._may(site, unit))
            self._again(unit, reason)
            return
        trial.site.failures = 0
        self._taken[getattr(unit, "what", None)].append(time.monotonic() - trial.began)
        del self._tried[unit]

    def _untried(self, trial: _Try[Unit]) -> None:
        """A try that does not count: it did not begin, or ended for reasons of its own."""
        self._tried[trial.unit] = [m for m in self._tried[trial.unit] if m is not trial.site]

    def _again(self, unit: Unit, reason: str) -> None:
        """Try a unit at another site, or give it up."""
        if any(t.unit == unit for t in self._under_way.values()):  # another is at it already
            return
        if len(self._tried[unit]) < _TRIES:
            self._waiting.appendleft(unit)
            return
        self._given_up.add(unit)
        where = " and ".join(dict.fromkeys(m.name for m in self._tried.pop(unit)))
        self._task.give_up(unit, f"{where}: {reason}")
