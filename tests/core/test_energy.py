"""Counters of energy are read without counting anything twice, and what cannot be read as a whole is not read at all."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import psutil
import pytest

from bench.core import energy
from bench.core.energy import Counter, energy_counter, how_to_read
from bench.core.health import energy_reading
from bench.core.machine import ActivityMeter

POWERCAP, PERF = "sys/class/powercap", "sys/bus/event_source/devices/power"


def zone(root: Path, place: str, name: str, microjoules: int, largest: int = 10**9) -> Path:
    """A zone of powercap. Returns the file of its counter."""
    folder = root / POWERCAP / place
    folder.mkdir(parents=True)
    (folder / "name").write_text(name + "\n")
    (folder / "max_energy_range_uj").write_text(f"{largest}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def two_packages(root: Path) -> list[Path]:
    """What a server has: counters of packages and of their memory, and those that count the same once more."""
    counted = [
        zone(root, "intel-rapl:0", "package-0", 5_000_000),
        zone(root, "intel-rapl:1", "package-1", 7_000_000),
        zone(root, "intel-rapl:0:2", "dram", 1_000_000),
    ]
    again = [
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:0:1", "uncore"),
        ("intel-rapl:2", "psys"),
        ("intel-rapl-mmio:0", "package-0"),
    ]
    return counted + [zone(root, place, name, 0) for place, name in again]


def test_packages_and_their_memory_are_added_and_nothing_twice(tmp_path: Path) -> None:
    files = two_packages(tmp_path)
    with energy_counter(tmp_path) as counter:
        assert counter is not None and counter.source == "powercap" and counter.memory
        assert counter.take() == 0
        for file in files:
            file.write_text(f"{int(file.read_text()) + 2_500_000}\n")
        assert counter.take() == pytest.approx(3 * 2.5)
        assert counter.take() == 0


def test_a_counter_begins_at_zero_again(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", 999_000_000, largest=10**9)
    with energy_counter(tmp_path) as counter:
        assert counter is not None and not counter.memory
        file.write_text("2000000\n")
        assert counter.take() == pytest.approx(3.0)


def test_a_part_of_the_counters_is_none(tmp_path: Path) -> None:
    *_, package, _ = two_packages(tmp_path)[:3]
    package.unlink()
    package.mkdir()  # which root cannot read either
    with energy_counter(tmp_path) as counter:
        assert counter is None
    assert how_to_read(tmp_path) == "sudo chmod o+r /sys/class/powercap/intel-rapl:*/energy_uj"


def test_a_machine_without_counters(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "psys", 0)
    with energy_counter(tmp_path) as counter:
        assert counter is None
    assert how_to_read(tmp_path) is None
    assert energy_reading(tmp_path).value == "no counter that this system tells of"


def test_a_counter_that_goes_away_costs_no_measurement(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", 5)
    with energy_counter(tmp_path) as counter:
        assert counter is not None
        file.write_text("")
        assert math.isnan(counter.take())


def test_files_are_closed(tmp_path: Path) -> None:
    two_packages(tmp_path)
    before = psutil.Process().num_fds()
    with energy_counter(tmp_path):
        assert psutil.Process().num_fds() == before + 3
    assert psutil.Process().num_fds() == before


def pmu(root: Path, kind: int, scale: str, *, memory: bool = False, cpus: str = "0") -> None:
    """A PMU of events of energy."""
    folder = root / PERF
    (folder / "events").mkdir(parents=True)
    (folder / "type").write_text(f"{kind}\n")
    (folder / "cpumask").write_text(f"{cpus}\n")
    for config, name in enumerate(["energy-pkg", *(["energy-ram"] if memory else []), "energy-psys"]):
        (folder / "events" / name).write_text(f"event=0x{config:02x}\n")
        (folder / "events" / f"{name}.scale").write_text(f"{scale}\n")


def test_events_of_perf_are_added_over_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pmu(tmp_path, 9, "2.3283064365386962890625e-10", memory=True, cpus="0,28-29")
    opened: dict[tuple[int, int], int] = {}

    def event(kind: int, config: int, cpu: int) -> int:
        read_end, opened[config, cpu] = os.pipe()
        os.write(opened[config, cpu], (7).to_bytes(8, "little") + (7 + 2**32).to_bytes(8, "little"))
        return read_end

    monkeypatch.setattr(energy, "_open_event", event)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with energy_counter(tmp_path) as counter:
        assert counter is not None and (counter.source, counter.memory) == ("perf", True)
        assert set(opened) == {(config, cpu) for config in (0, 1) for cpu in (0, 28, 29)}
        assert counter.take() == pytest.approx(6.0)
        for end in opened.values():
            os.close(end)
        assert math.isnan(counter.take()), "a CPU that is taken away"


def test_the_kernel_counts_an_event_for_us(tmp_path: Path) -> None:
    """The clock of a CPU instead of energy: nanoseconds, which every kernel has where it lets us count."""
    pmu(tmp_path, 1, "1e-9")
    with energy_counter(tmp_path) as counter:
        if counter is None:
            assert how_to_read(tmp_path) == "sudo sysctl kernel.perf_event_paranoid=0"
            assert "perf_event_paranoid=0 lets everybody" in energy_reading(tmp_path).value
            pytest.skip("this kernel lets nobody count events of all processes")
        outer = time.perf_counter()
        counter.take()
        inner = time.perf_counter()
        while (now := time.perf_counter()) < inner + 0.02:
            pass
        counted = counter.take()
        assert 0.9 * (now - inner) < counted < 1.1 * (time.perf_counter() - outer)


class ByHand:
    """A counter of joules that goes on when it is told."""

    def __init__(self) -> None:
        self.joules = 0
        self.counter = Counter("powercap", [energy._Domain(lambda: self.joules, 1.0, 2**60)], memory=False)


def test_energy_of_a_pause_does_not_count() -> None:
    hand = ByHand()
    meter = ActivityMeter(counter=hand.counter)
    hand.joules += 100
    meter.start()
    hand.joules += 2
    meter.pause()
    hand.joules += 30  # in others' turns
    meter.resume()
    hand.joules += 3
    meter.stop()
    assert meter.joules == 5


def test_power_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    hand, now = ByHand(), 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        hand.joules += 20

    monkeypatch.setattr(energy.time, "sleep", sleep)
    monkeypatch.setattr(energy.time, "perf_counter", lambda: now)
    assert hand.counter.idle_watts(0.5) == 40


def test_doctor_tells_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_packages(tmp_path)
    monkeypatch.setattr(Counter, "idle_watts", lambda self: 31.42)
    found = energy_reading(tmp_path)
    assert found.value == "powercap: 31.4 W now, of the processors' packages with their memory"
    assert found.remedy is None and not found.of_timing
    monkeypatch.setattr(Counter, "idle_watts", lambda self: 0.0)
    assert energy_reading(tmp_path).value.startswith("powercap: a counter that stands still")
