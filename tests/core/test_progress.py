"""Progress in a log: a line for every step that ends, with the time left, and now and then while one goes on."""

from __future__ import annotations

import pytest

from bench.core.formats import duration
from bench.core.pace import Expected
from bench.core.progress import Reporter, _Lines, be_quiet


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


def test_steps_that_are_not_alike_do_not_seem_to_have_more_left_than_all() -> None:
    clock, said, of_all = Clock(), list[str](), [100.0, 60.0]
    steps = _Lines("Choosing", 3, said.append, clock, lambda: "; in all about 2 min left", lambda: of_all.pop(0))
    clock.now += 80  # the first took what the others do not
    steps.done()
    clock.now += 10
    steps.done()
    assert said == [
        "Choosing, 1 of 3, after 1:20; in all about 2 min left",
        "Choosing, 2 of 3, after 1:30, 0:45 left; in all about 2 min left",
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


def test_steps_that_are_one_job_end_in_one_line() -> None:
    clock, said = Clock(), list[str]()
    steps = _Lines("Scoring", 8, said.append, clock)
    for number in (1, 2):
        steps.name(f"pass {number} of 2")
        clock.now += 40
        steps.share(2.4)
        clock.now += 20
        steps.share(3)
        clock.now += 40
        steps.share(4)  # the job says that it is at its end
        steps.done(4)
    assert said == [
        "Scoring, 30 %: pass 1 of 2, after 0:40, 1:33 left",
        "Scoring, 4 of 8: pass 1 of 2, after 1:40, 1:40 left",
        "Scoring, 80 %: pass 2 of 2, after 2:20, 0:35 left",
        "Scoring, 8 of 8: pass 2 of 2, after 3:20",
    ]


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


def test_in_a_log_every_stage_that_ends_says_so_with_what_is_left_of_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter()
    expected = {"Quantizing": Expected(60.0, 2), "Scoring": Expected(600.0, 4), "Samples": Expected()}
    with reporter.stages(expected):
        with reporter.stage("Quantizing"), reporter.steps("Quantizing", 2) as steps:
            for name in ("Q4_0", "Q8_0"):
                steps.name(name)
                with reporter.steps("Weights", 1) as inner:
                    inner.share(1.0)
                steps.done()
        with reporter.stage("Scoring"):
            pass  # all of it is on record
        with reporter.stage("Samples"), reporter.steps("Samples", 1):
            pass
        with reporter.stage("Quantizing"):
            pass  # needed again, and there
    said = [line.partition(" ")[2] for line in capfd.readouterr().err.splitlines()]
    assert [line.partition("; in all about ")[0] for line in said] == [
        "Quantizing, 1 of 2: Q4_0, after 0:00, 0:00 left",
        "Quantizing, 2 of 2: Q8_0, after 0:00",
        "Samples: done, after 0:00",
    ]
    assert all(line.endswith(" left without Samples") for line in said[:2]), said


def test_a_stage_is_as_far_as_its_steps_and_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = Reporter()
    reporter._terminal = True
    monkeypatch.setattr("bench.core.progress.Screen", NoScreen)
    with reporter.stages({"Sensitivities": Expected(10.0, 4), "Choosing": Expected(10.0, 2)}):
        pace = reporter._pace
        assert pace is not None
        with reporter.stage("Choosing"), reporter.steps("Choosing", 2) as outer:
            with reporter.stage("Sensitivities"), reporter.steps("Tensors", 4) as tensors:
                tensors.share(1)
                assert pace.stages["Sensitivities"].share == 0.25
                assert pace.stages["Choosing"].share == 0
            with reporter.steps("Trials", 1) as trials:
                trials.share(0.5)
                assert pace.stages["Choosing"].share == 0.25
            outer.done()
            assert pace.stages["Choosing"].share == 0.5


class NoScreen:
    """A display that nobody sees."""

    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> NoScreen:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, step: str, *, at_once: bool = True) -> None: ...
