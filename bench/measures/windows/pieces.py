"""Cutting timed work into short pieces. Between them a process gives way to the processes that are measured beside it.

Disturbances of a shared machine last for a quarter of a second and longer. Files whose turns are shorter are slowed alike.
"""

from __future__ import annotations

from bench.core.energy import Counter
from bench.core.machine import ActivityMeter
from bench.engine.graph import EvalCallback, pausing_callback
from bench.execute.siblings import Turns, own_time, stopped_clock

#: Seconds after which a process gives way.
_TURN = 0.04
#: Operations of a graph in a piece.
_OPERATIONS = 8


class Pieces:
    """The pieces of what is timed between `begin` and `end`. seconds: of each; meter: what the CPUs did meanwhile, and what energy they
    took where there is a counter of it. Neither counts what others do in their turns."""

    def __init__(self, turns: Turns, threads: int, counter: Counter | None = None) -> None:
        self._turns = turns
        self.meter = ActivityMeter(threads, counter)
        self.seconds: list[float] = []
        self._is_timed = False

    @property
    def callback(self) -> EvalCallback | None:
        """What cuts a decode; None where there is nobody to give way to, and a decode is one piece."""
        return pausing_callback(self.cut, _OPERATIONS) if self._turns.has_others else None

    def begin(self) -> None:
        self.seconds = []
        self.meter.start()
        self._is_timed = True
        self._began = self._mark = own_time()

    def cut(self) -> None:
        """A piece has ended. Others get their turn where this one has lasted long enough."""
        if not self._is_timed:  # while the engine warms up
            return
        now = own_time()
        self.seconds.append(now - self._mark)
        if now - self._began >= _TURN:
            with stopped_clock():
                self.meter.pause()
                self._turns.give_way()
                self.meter.resume()
            self._began = own_time()
        self._mark = own_time()

    def end(self) -> list[float]:
        """Seconds of every piece, the last one among them."""
        self.seconds.append(own_time() - self._mark)
        self._is_timed = False
        return self.seconds
