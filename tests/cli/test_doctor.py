"""`doctor` tells what is in the way of measurements, and its exit code says whether anything is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.health import Reading
from tests.conftest import Outcome
from tests.support.hub_server import HubServer, hub  # noqa: F401

Bench = Callable[..., Outcome]


def test_it_tells_of_the_whole_machine(
    bench: Bench,
    cache: Path,
    hub: HubServer,  # noqa: F811
) -> None:
    told = bench("doctor", "--cache", cache)
    assert told.code in (0, 1) and (told.code == 1) == ("! " in told.out)
    assert all(name in told.out for name in ("machine", "engine", "bandwidth", "memory", "disk", "model hub"))
    assert "built for" in told.out and "GB/s" in told.out


def test_for_programs(bench: Bench, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = [Reading("governor", "powersave", "set it to performance")]
    monkeypatch.setattr("bench.advise.doctor.timing_readings", lambda: bad)
    told = bench("doctor", "--no-hub", "--json", "--cache", cache)
    rows = {r["name"]: r for r in json.loads(told.out)}
    assert told.code == 1 and "model hub" not in rows
    assert rows["governor"] == {
        "name": "governor",
        "value": "powersave",
        "remedy": "set it to performance",
        "of_timing": True,
    }
    assert rows["engine"]["remedy"] is None


def test_a_hub_that_cannot_be_reached(bench: Bench, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    told = bench("doctor", "--cache", cache)
    assert told.code == 1 and "cannot be reached" in told.out and "HF_ENDPOINT" in " ".join(told.out.split())
