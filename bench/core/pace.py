"""Progress of a job of several stages, and the time left: a forecast, corrected by the measured pace.

A forecast is better at the ratios between stages than at the speed of a machine. So the time left of a stage is its forecast times
the ratio of measured to forecast time so far. The stage that is under way changes over to its own pace as it proceeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: Share of the whole forecast that must be seen before the measured pace counts as much as the forecast.
_TRUST = 0.005
#: Share of a stage that must be done before its own pace counts as much as that of the whole.
_OWN = 0.1
#: How far a machine may be from the forecast; what seems further off was in the cache already.
_LEAST, _MOST = 0.05, 50.0
#: What is told to be done at most while a stage has not ended.
_ALMOST = 0.99


@dataclass(frozen=True)
class Expected:
    """What a stage is forecast to take. seconds: None where nothing is known; steps: how many steps the forecast is of, None
    where it is the same for any number."""

    seconds: float | None = None
    steps: int | None = None


@dataclass
class Stage:
    """How far a stage is. share: what of it is done; elapsed: seconds that it took so far, and `at_share` when the share was
    told last; worked: whether it had something to do."""

    name: str
    expected: float | None
    steps: int | None = None
    share: float = 0.0
    elapsed: float = 0.0
    at_share: float = 0.0
    begun: bool = False
    ended: bool = False
    worked: bool = False


@dataclass
class Pace:
    """Stages by name, in order. One is entered and left like a block; within another its time is its own."""

    expected: Mapping[str, Expected]
    clock: Callable[[], float] = time.monotonic
    stages: dict[str, Stage] = field(init=False)

    def __post_init__(self) -> None:
        self.stages = {name: Stage(name, e.seconds, e.steps) for name, e in self.expected.items()}
        self._open: list[Stage] = []
        self._began = self._told = self.clock()

    def begin(self, name: str) -> None:
        self._spend()
        stage = self.stages[name]
        stage.begun, stage.ended = True, False
        self._open.append(stage)

    def end(self, *, whole: bool) -> None:
        """Leave the stage that was entered last. whole: whether it came to its end."""
        self._spend()
        stage = self._open.pop()
        stage.ended, stage.share, stage.at_share = whole, 1.0 if whole else stage.share, stage.elapsed

    def of(self, steps: int) -> None:
        """The stage under way has so many steps to do, which may be fewer than were forecast."""
        if self._open and not (stage := self._open[-1]).worked:
            stage.worked = True
            if stage.expected is not None and stage.steps:
                stage.expected *= min(steps / stage.steps, 1.0)

    def reach(self, share: float) -> None:
        """The stage under way is done so far, from 0 to 1. It does not go back."""
        self._spend()
        if self._open:
            stage = self._open[-1]
            if share > stage.share:
                stage.share, stage.at_share = min(share, 1.0), stage.elapsed

    def _spend(self) -> None:
        now = self.clock()
        if self._open:
            self._open[-1].elapsed += now - self._told
        self._told = now

    # --- what is read, at any time and from any thread -----------------------------------------------------------------

    @property
    def current(self) -> Stage | None:
        return self._open[-1] if self._open else None

    @property
    def total(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self._began

    def elapsed(self, stage: Stage) -> float:
        """Seconds that a stage has taken by now."""
        return stage.elapsed + (self.clock() - self._told if stage is self.current else 0.0)

    def remaining(self, stage: Stage) -> float | None:
        """Seconds that a stage still takes; None where nothing is known of it."""
        if stage.ended:
            return 0.0
        share = stage.share
        foreseen = None if stage.expected is None else stage.expected * (1 - share) * self._factor()
        if share == 0:
            left = foreseen
        else:
            own = stage.at_share / share * (1 - share)
            trust = share / (share + _OWN)
            left = own if foreseen is None else trust * own + (1 - trust) * foreseen
        if left is None:
            return None
        # what has passed since the share was told counts, but a step that takes long does not bring the end near
        return max(left - (self.elapsed(stage) - stage.at_share), left / 2)

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes; None where nothing is known of the stage under way or of any other."""
        known = [self.remaining(s) for s in self.stages.values()]
        found = [s for s in known if s is not None]
        if not found or (self.current is not None and self.remaining(self.current) is None):
            return None
        return sum(found)

    @property
    def unknown(self) -> list[str]:
        """Names of stages that are still to come and of which nothing is known."""
        return [s.name for s in self.stages.values() if not s.begun and self.remaining(s) is None]

    @property
    def share(self) -> float:
        """What of all is done, by time: 1 only when every stage has ended. A stage of which nothing is known counts for nothing."""
        if all(s.ended for s in self.stages.values()):
            return 1.0
        known = [left for s in self.stages.values() if (left := self.remaining(s)) is not None]
        return min(self.total / max(self.total + sum(known), 1e-9), _ALMOST) if known else 0.0

    def _factor(self) -> float:
        """Measured by forecast time, of what has been worked at so far; near 1 until that is something."""
        seen = [s for s in self.stages.values() if s.worked and s.expected and s.share]
        forecast = sum(s.expected * s.share for s in seen if s.expected)
        trust = _TRUST * sum(e.seconds or 0.0 for e in self.expected.values())
        if not forecast + trust:
            return 1.0
        return min(max((sum(s.at_share for s in seen) + trust) / (forecast + trust), _LEAST), _MOST)
