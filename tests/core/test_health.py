"""What spoils timings is read and told with its remedy, and what cannot be read is left out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import psutil
import pytest

from bench.core.health import Reading, room_readings, timing_readings

CPUS = "sys/devices/system/cpu"


def system(root: Path, governor: str, *, no_turbo: str | None = None, boost: str | None = None) -> Path:
    """A file system that tells of two CPUs."""
    files = {f"cpu{i}/cpufreq/scaling_governor": governor for i in range(2)}
    files |= {name: text for name, text in (("intel_pstate/no_turbo", no_turbo), ("cpufreq/boost", boost)) if text}
    for name, text in files.items():
        path = root / CPUS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def by_name(readings: list[Reading]) -> dict[str, Reading]:
    return {r.name: r for r in readings}


def test_what_spoils_timings_is_told_with_a_remedy(tmp_path: Path) -> None:
    found = by_name(timing_readings(system(tmp_path, "powersave", no_turbo="0"), watched=0))
    assert found["governor"].value == "powersave" and "cpupower frequency-set" in (found["governor"].remedy or "")
    assert found["turbo"].value == "on" and "echo 1 | sudo tee" in (found["turbo"].remedy or "")
    assert "other load" not in found, "it was not watched"


def test_a_machine_that_is_well_needs_no_remedy(tmp_path: Path) -> None:
    found = by_name(timing_readings(system(tmp_path, "performance", boost="0"), watched=0))
    assert found["governor"].remedy is None
    assert (found["turbo"].value, found["turbo"].remedy) == ("off", None)


def test_what_the_system_does_not_tell_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cpu_freq", "sensors_temperatures", "sensors_battery"):
        monkeypatch.delattr(psutil, name, raising=False)
    assert {"governor", "turbo", "frequency", "temperature", "power"}.isdisjoint(by_name(timing_readings(tmp_path, 0)))


class Times(NamedTuple):
    """CPU seconds as psutil tells them."""

    user: float
    idle: float
    iowait: float
    steal: float
    guest: float


def test_other_load_and_stolen_time_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([Times(10, 50, 0, 1, 3), Times(14, 55, 0, 2, 7)])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(times))
    found = by_name(timing_readings(tmp_path, 0.01))
    assert found["other load"].value == "40 % of the CPU time" and found["other load"].remedy
    assert found["stolen time"].value == "10 %" and "host" in (found["stolen time"].remedy or "")


def test_what_this_program_computes_is_no_other_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times, own = iter([Times(10, 50, 0, 1, 0), Times(14, 56, 0, 1, 0)]), iter([20.0, 24.0])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(times))
    monkeypatch.setattr("bench.core.health._own_seconds", lambda: next(own))
    found = by_name(timing_readings(tmp_path, 0.01))
    assert found["other load"] == Reading("other load", "0 % of the CPU time") and not found["stolen time"].remedy


def test_a_hot_slow_machine_on_battery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_freq", lambda: SimpleNamespace(current=1200.0, max=3600.0))
    sensors = {"cpu": [SimpleNamespace(current=97.0, high=100.0, critical=105.0)]}
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: sensors, raising=False)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: SimpleNamespace(power_plugged=False), raising=False)
    found = by_name(timing_readings(tmp_path, 0))
    assert found["frequency"].value == "1,200 of 3,600 MHz" and found["frequency"].remedy
    assert found["temperature"].value == "97 °C" and found["temperature"].remedy
    assert found["power"] == Reading("power", "battery", "plug the charger in")


def test_room_is_told_of_a_cache_that_is_not_there_yet(tmp_path: Path) -> None:
    found = by_name(room_readings(tmp_path / "not" / "there"))
    assert str(tmp_path) in found["disk"].value and "available" in found["memory"].value
