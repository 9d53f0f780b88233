"""Time left: a forecast that gives way to what is measured."""

from __future__ import annotations

import pytest

from bench.core.pace import Expected, Pace


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run_of(pace: Pace, clock: Clock, name: str, steps: int, seconds: float) -> list[tuple[float, float]]:
    """(clock, seconds left) after every step of a stage whose steps take so long each."""
    seen = []
    pace.begin(name)
    pace.of(steps)
    for step in range(1, steps + 1):
        clock.now += seconds
        pace.reach(step / steps)
        assert pace.left is not None
        seen.append((clock.now, pace.left))
    pace.end(whole=True)
    return seen


def test_before_anything_is_done_the_forecast_holds() -> None:
    pace = Pace({"a": Expected(60.0), "b": Expected(120.0)}, Clock())
    assert pace.left == 180.0 and pace.share == 0.0 and pace.unknown == []


#: Stages as the default run has them: forecast, and steps.
FORECAST = {
    "Importance matrix": (56.0, 47),
    "Sensitivities": (430.0, 211),
    "Choosing types": (275.0, 45),
    "Quantizing": (20.0, 10),
    "Scoring and timing": (720.0, 88),
}


@pytest.mark.parametrize("slower", [0.2, 1.0, 6.0], ids=lambda f: f"the machine takes {f:g} times as long")
@pytest.mark.parametrize("off", ["Sensitivities", "Scoring and timing", "Choosing types", None])
@pytest.mark.parametrize("by", [0.55, 1.8])
def test_after_a_tenth_the_time_left_is_right_within_a_factor_of_two(slower: float, off: str | None, by: float) -> None:
    """Whatever machine it is, and where the forecast of a stage is nearly a factor of two off beside the others."""
    clock = Clock()
    pace = Pace({name: Expected(s, n) for name, (s, n) in FORECAST.items()}, clock)
    began, seen = clock.now, []
    for name, (seconds, steps) in FORECAST.items():
        seen += run_of(pace, clock, name, steps, seconds * slower * (by if name == off else 1) / steps)
    whole = clock.now - began
    judged = [(now, left) for now, left in seen if 0.1 * whole <= now - began <= 0.98 * whole]
    assert len(judged) > 100
    for now, left in judged:
        right = clock.now - now
        assert right / 2 <= left <= right * 2, (
            f"after {(now - began) / whole:.0%}: {left:.0f} s told, {right:.0f} s are right"
        )
    assert pace.share == 1.0 and pace.left == 0.0


def test_what_was_in_the_cache_says_nothing_of_the_pace() -> None:
    clock = Clock()
    pace = Pace({"matrix": Expected(100.0), "scoring": Expected(300.0, 30)}, clock)
    pace.begin("matrix")
    clock.now += 0.1
    pace.end(whole=True)
    assert pace.left == pytest.approx(300.0)


def test_fewer_steps_than_were_forecast_take_their_part_of_the_time() -> None:
    pace = Pace({"probes": Expected(200.0, 100), "scoring": Expected(300.0, 30)}, Clock())
    pace.begin("probes")
    pace.of(25)
    assert pace.left == pytest.approx(50.0 + 300.0)


def test_within_a_stage_another_ones_time_is_its_own() -> None:
    clock = Clock()
    pace = Pace({"sensitivities": Expected(60.0), "choosing": Expected(60.0)}, clock)
    pace.begin("choosing")
    clock.now += 5
    pace.begin("sensitivities")
    clock.now += 70
    pace.end(whole=True)
    clock.now += 10
    pace.end(whole=True)
    assert [s.elapsed for s in pace.stages.values()] == [70, 15]


def test_between_two_steps_the_time_left_runs_down_and_not_out() -> None:
    clock = Clock()
    pace = Pace({"scoring": Expected(100.0, 10)}, clock)
    pace.begin("scoring")
    pace.of(10)
    clock.now += 10
    pace.reach(0.1)
    at_once = pace.left
    clock.now += 10
    later = pace.left
    clock.now += 1000
    assert at_once == pytest.approx(90) and later == pytest.approx(80) and pace.left == pytest.approx(45)


def test_of_what_is_not_forecast_nothing_is_told_until_it_is_under_way() -> None:
    clock = Clock()
    pace = Pace({"scoring": Expected(100.0), "problems": Expected()}, clock)
    assert pace.left == 100.0 and pace.unknown == ["problems"]
    run_of(pace, clock, "scoring", 1, 100)
    pace.begin("problems")
    pace.of(4)
    assert pace.left is None and pace.share == 0.99 and pace.unknown == [], "nearly all that was forecast is done"
    clock.now += 10
    pace.reach(0.25)
    assert pace.left == pytest.approx(30.0)


def test_nothing_is_called_done_before_every_stage_has_ended() -> None:
    clock = Clock()
    pace = Pace({"scoring": Expected(100.0), "problems": Expected(), "samples": Expected()}, clock)
    run_of(pace, clock, "scoring", 10, 10)
    assert pace.share == 0.99, "what is to come is not forecast, but to be done"
    pace.begin("problems")
    pace.of(4)
    clock.now += 10
    assert pace.share == 0.99, "and what was done is not undone by what is not forecast"
    pace.end(whole=True)
    pace.begin("samples")
    pace.end(whole=True)
    assert pace.share == 1.0


def test_of_what_is_unknown_altogether_no_share_is_told() -> None:
    clock = Clock()
    pace = Pace({"problems": Expected(), "samples": Expected()}, clock)
    pace.begin("problems")
    clock.now += 10
    assert pace.share == 0.0


def test_an_interrupted_stage_is_not_done() -> None:
    pace = Pace({"scoring": Expected(100.0)}, Clock())
    pace.begin("scoring")
    pace.reach(0.5)
    pace.end(whole=False)
    assert not pace.stages["scoring"].ended and pace.share < 1
