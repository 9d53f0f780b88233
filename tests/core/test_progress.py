"""Progress in a log: a line for every step that ends, with the time left, and now and then while one goes on."""

from __future__ import annotations

import pytest

from bench.core.progress import Reporter, _Lines, be_quiet, duration


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (7, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_for_every_step_that_ends_with_what_is_left() -> None:
    clock, said = Clock(), list[str]()
    steps = _Lines("Scoring", 4, said.append, clock)
    for name in ("F16", "Q8_0"):
        steps.name(name)
        clock.now += 60
        steps.done()
    clock.now += 120
    steps.done()
    clock.now += 60
    steps.done()
    steps.ended()
    assert said == [
        "Scoring, 1 of 4: F16, after 1:00, 3:00 left",
        "Scoring, 2 of 4: Q8_0, after 2:00, 2:00 left",
        "Scoring, 3 of 4: Q8_0, after 4:00, 1:20 left",
        "Scoring, 4 of 4: Q8_0, after 5:00",
    ]


def test_a_long_step_says_now_and_then_how_far_it_is() -> None:
    clock, said = Clock(), list[str]()
    steps = _Lines("Sensitivity", 200, said.append, clock)
    for done in range(1, 201):
        clock.now += 1
        steps.share(done)
    steps.ended()
    assert said[0] == "Sensitivity, 30 of 200, after 0:30, 2:50 left"
    assert len(said) == 7 and said[-1] == "Sensitivity: done, after 3:20"


def test_without_a_terminal_it_writes_lines_and_none_when_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    def report() -> str:
        reporter = Reporter()
        reporter.say("Fetching a model")
        with reporter.steps("Quantizing", 1) as steps:
            steps.name("IQ2_XXS [bold]")
            steps.done()
        reporter.warn("no room")
        captured = capfd.readouterr()
        assert captured.out == ""
        return captured.err

    lines = report().splitlines()
    assert [line.partition(" ")[2] for line in lines[:2]] == [
        "Fetching a model",
        "Quantizing, 1 of 1: IQ2_XXS [bold], after 0:00",
    ]
    assert lines[2:] == ["warning: no room"]
    be_quiet()
    try:
        assert report() == "warning: no room\n"
    finally:
        be_quiet(False)
