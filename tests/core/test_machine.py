"""What other work and a machine that stands still do to a measurement is seen."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench.core import machine
from bench.core.machine import ActivityMeter, cpu_quota
from bench.core.progress import Reporter
from bench.workbench.options import Options
from bench.workbench.work import Work


def compute(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def test_what_happens_in_a_pause_does_not_count() -> None:
    meter = ActivityMeter()
    meter.start()
    compute(0.05)
    meter.pause()
    time.sleep(1.0)
    compute(0.3)
    meter.resume()
    compute(0.05)
    found = meter.stop()
    assert 0.1 <= found.own < 0.3 and found.wall < 1.0


def test_a_stretch_in_which_nothing_computed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_busy_seconds", lambda: 0.0)  # whatever else computes here
    meter = ActivityMeter()
    meter.start()
    compute(0.02)
    meter.pause()
    meter.resume()
    time.sleep(0.4)  # as where a machine is suspended
    meter.stop()
    assert meter.still >= 0.35


def test_more_threads_than_a_container_gets_time_for_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.workbench.work.cpu_quota", lambda: 1)
    assert Work(Options(threads=2, cache=tmp_path), Reporter()).threads == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--threads 2: this container gets the time of 1 CPU" in said and "give --threads 1" in said
    assert Work(Options(threads=1, cache=tmp_path), Reporter()).threads == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "cpus"), [("max 100000", None), ("150000 100000", 1), ("50000 100000", 1), ("400000 100000", 4)]
)
def test_a_quota_is_read(monkeypatch: pytest.MonkeyPatch, text: str, cpus: int | None) -> None:
    monkeypatch.setattr(machine.Path, "read_text", lambda self: text)
    assert cpu_quota() == cpus
