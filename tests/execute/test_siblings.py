"""Processes that take turns compute one at a time, and none outlives the worker that forked it."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from bench.core.errors import BenchError, MeasurementError
from bench.execute.siblings import FORKS, Alone, Sibling, Turns

pytestmark = pytest.mark.skipif(not FORKS, reason="files are measured one after the other where nothing may be forked")

Start = Callable[[Callable[[Turns], object]], Sibling]


@pytest.fixture
def start() -> Iterator[Start]:
    begun: list[Sibling] = []

    def begin(body: Callable[[Turns], object]) -> Sibling:
        begun.append(Sibling(body, "model.gguf"))
        return begun[-1]

    yield begin
    for sibling in begun:
        sibling.stop()


def spans(turns: Turns) -> list[tuple[float, float]]:
    """Three turns, and when each was."""
    found = []
    for _ in range(3):
        with turns.turn():
            began = time.monotonic()
            time.sleep(0.01)
            found.append((began, time.monotonic()))
    return found


def test_turns_never_overlap_and_keep_their_order(start: Start) -> None:
    both = [start(spans), start(spans)]
    for _ in range(3):
        for sibling in both:
            sibling.take_turn()
    for sibling in both:
        sibling.finish()
    in_order = [span for pair in zip(both[0].answer, both[1].answer, strict=True) for span in pair]
    assert in_order == sorted(in_order) and len(in_order) == 6
    assert all(end <= begin for (_, end), (begin, _) in pairwise(in_order))


def test_one_that_need_not_wait_gets_all_turns_at_once() -> None:
    assert len(spans(Alone())) == 3


def test_what_is_told_before_the_answer_is_there_though_its_process_dies(start: Start) -> None:
    def tells(turns: Turns) -> None:
        for i in range(3):
            with turns.turn():
                pass
            turns.tell(i)
            if i == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    sibling = start(tells)
    sibling.take_turn()
    assert sibling.told == []
    for _ in range(2):
        sibling.take_turn()
    assert sibling.told == [0, 1] and isinstance(sibling.error, MeasurementError)
    told = list[int]()
    Alone(told.append).tell(7)
    assert told == [7]


def test_each_is_told_whether_the_one_that_leads_is_there(start: Start) -> None:
    def told(turns: Turns) -> list[bool]:
        found = []
        for _ in range(2):
            with turns.turn() as is_led:
                found.append(is_led)
        return found

    sibling = start(told)
    sibling.take_turn(is_led=True)
    sibling.take_turn(is_led=False)
    sibling.finish()
    assert sibling.answer == [True, False]


def failing(turns: Turns) -> None:
    with turns.turn():
        raise BenchError("x.gguf: is no model; name one")


def aborting(turns: Turns) -> None:
    with turns.turn():
        faulthandler.disable()  # pytest's
        os.kill(os.getpid(), signal.SIGABRT)


def killed(turns: Turns) -> None:
    with turns.turn():
        os.kill(os.getpid(), signal.SIGKILL)


def out_of_bounds(turns: Turns) -> None:
    with turns.turn():
        raise IndexError("beyond")


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (failing, "x.gguf: is no model; name one"),
        (aborting, r"^model.gguf: llama.cpp gave up on this model \(SIGABRT\)"),
        (killed, r"^its process was ended by SIGKILL \(out of memory\?\)"),
        (out_of_bounds, r"^its process ended with code 1 and no result: IndexError: beyond"),
    ],
    ids=["error", "abort", "kill", "fault"],
)
def test_one_that_fails_costs_nothing_but_its_own_answer(
    start: Start, body: Callable[[Turns], None], what: str
) -> None:
    broken, sound = start(body), start(spans)
    for _ in range(3):
        broken.take_turn()
        sound.take_turn()
    broken.finish()
    sound.finish()
    assert broken.error is not None and broken.answer is None
    assert len(sound.answer) == 3
    with pytest.raises(BenchError, match=what):
        raise broken.error
    assert isinstance(broken.error, MeasurementError) == (body is not failing)


def test_none_outlives_its_worker(tmp_path: Path) -> None:
    program = """
        import sys, time
        from bench.execute.siblings import Sibling
        def body(turns):
            with turns.turn():
                time.sleep(600)
        siblings = [Sibling(body, "m"), Sibling(body, "m")]
        siblings[0]._pipe.send(True)
        print(*(s._process.pid for s in siblings), flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        pids = [int(n) for n in worker.stdout.readline().split()]
        assert len(pids) == 2 and all(psutil.pid_exists(pid) for pid in pids)
        worker.kill()
    deadline = time.monotonic() + 10
    while alive := [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.02)
