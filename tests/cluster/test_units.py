"""Which site does which unit, and what happens when one fails, is lost or is slow: with sites that do as they are told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest

from bench.cluster.connection import Answered, LostSiteError, Question
from bench.cluster.protocol import PrepareAnswer, Setup, SiteReport, UnitAnswer
from bench.cluster.sites import Member, Required, Sites
from bench.cluster.units import spread
from bench.core.errors import BenchError
from bench.core.machine import this_machine
from bench.core.progress import Reporter
from bench.engine.jobs import Device
from bench.engine.settings import LibraryInfo, Offload

LIBRARY = LibraryInfo(binding="1", llama_cpp="2", features=("AVX2",), isa="AVX2")
REQUIRED = Required(version="1", library=LIBRARY, threads=2, memory=1e9, disk=1e9)
SETUP = Setup.model_construct(identity={}, digits="0")

#: What a site answers to a unit: an error or None, that it is lost, or nothing at all ("...").
Does = Callable[[int], str | LostSiteError | None]


def report(name: str, **other: object) -> SiteReport:
    said = {"name": name, "version": "1", "library": LIBRARY, "machine": this_machine(), "cpus": 2, "free_bytes": 10**10, "available_bytes": 10**10}  # fmt: skip
    return SiteReport.model_validate(said | other)


@dataclass
class Scripted:
    """Sites by name, each with what it does. asked: (site, unit), in order."""

    does: dict[str, Does]
    reports: dict[str, SiteReport] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)
    waiting: list[Answered] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)

    def sites(self) -> Mapping[str, str]:
        return {f"tcp://{name}:1": name for name in self.does if name not in self.gone}

    def ask(self, address: str, question: Question, payload: str, answered: Answered) -> None:
        name = address.removeprefix("tcp://").removesuffix(":1")
        if question == "report":
            answered(PrepareAnswer(report=self.reports.get(name) or report(name)).model_dump_json())
        elif question == "prepare":
            self.prepared.append(name)
            answered(PrepareAnswer().model_dump_json())
        else:
            unit = int(payload)
            self.asked.append((name, unit))
            came = self.does[name](unit)
            if came == "...":
                self.waiting.append(answered)
            elif came == "unknown":
                answered(UnitAnswer(unknown=True).model_dump_json())
            else:
                answered(came if isinstance(came, LostSiteError) else UnitAnswer(error=came).model_dump_json())

    def forget(self, address: str) -> None: ...

    def close(self) -> None: ...


@dataclass
class Numbers:
    """Units that are numbers. done: (unit, site); given_up: {unit: reason}."""

    question: ClassVar[Question] = "measure"
    answers: type[UnitAnswer] = UnitAnswer
    done: list[tuple[int, str]] = field(default_factory=list)
    given_up: dict[int, str] = field(default_factory=dict)

    def request(self, unit: int) -> str:
        return str(unit)

    def take(self, unit: int, site: Member, answer: UnitAnswer) -> str | None:
        self.done.append((unit, site.name))
        return None

    def give_up(self, unit: int, reason: str) -> None:
        self.given_up[unit] = reason


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.cluster.sites._LOOK", 0.01)
    monkeypatch.setattr("bench.cluster.sites._LATE", 0.05)


def begun(connection: Scripted) -> Sites:
    sites = Sites(connection, Reporter(), REQUIRED)
    sites.gather()
    sites.begin(SETUP)
    return sites


def test_units_go_to_whoever_is_free() -> None:
    connection, task = Scripted({"a": lambda unit: None, "b": lambda unit: None}), Numbers()
    assert spread(begun(connection), task, range(7)) == set()
    assert sorted(unit for unit, _ in task.done) == list(range(7)) == sorted(unit for _, unit in connection.asked)
    assert {site for _, site in task.done} == {"a", "b"}


def test_what_fails_is_tried_at_one_more_site_and_then_given_up() -> None:
    connection = Scripted(
        {"a": lambda unit: "no room" if unit in (1, 2) else None, "b": lambda unit: "no luck" if unit == 2 else None}
    )
    task = Numbers()
    assert spread(begun(connection), task, range(4)) == {2}
    assert sorted(unit for unit, _ in task.done) == [0, 1, 3] and (1, "b") in task.done
    assert task.given_up[2] in ("a and b: no luck", "b and a: no room")
    assert len([1 for _, unit in connection.asked if unit == 2]) == 2


def test_what_was_lost_with_its_site_is_done_elsewhere(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cluster.units._SLOW", 1e9)  # else the other site would be faster

    def leave(unit: int) -> str | None:
        connection.gone.add("b")
        return "..."

    connection, task = Scripted({"a": lambda unit: None, "b": leave}), Numbers()
    assert spread(begun(connection), task, range(3)) == set()
    assert {site for _, site in task.done} == {"a"} and len(task.done) == 3
    assert "b is lost; 1 site is left" in capfd.readouterr().err


def test_a_connection_that_is_lost_is_no_fault_of_a_unit() -> None:
    times = iter(range(100))

    def twice_lost(unit: int) -> LostSiteError | None:
        return LostSiteError(everywhere=True) if next(times) < 4 else None

    connection, task = Scripted({"a": twice_lost, "b": twice_lost}), Numbers()
    assert spread(begun(connection), task, range(2)) == set()
    assert sorted(unit for unit, _ in task.done) == [0, 1]


def test_a_slow_site_keeps_nobody_waiting() -> None:
    connection = Scripted({"a": lambda unit: None, "slow": lambda unit: "..."})
    sites, task = begun(connection), Numbers()
    assert spread(sites, task, range(4)) == set()
    assert len(task.done) == 4 and {site for _, site in task.done} == {"a"}
    [late] = connection.waiting
    # while it is at what nobody waits for any more it gets nothing else, and when it is through it does
    spread(sites, task, range(4, 6))
    assert [site for site, unit in connection.asked if unit >= 4] == ["a", "a"]
    connection.does["slow"] = lambda unit: None
    late(UnitAnswer().model_dump_json())
    spread(sites, task, range(6, 12))
    assert "slow" in {site for site, unit in connection.asked if unit >= 6} and len(task.done) == 12


def test_a_slow_site_may_go_when_nobody_waits_for_it_any_more() -> None:
    connection = Scripted({"a": lambda unit: None, "slow": lambda unit: "..."})
    sites, task = begun(connection), Numbers()
    spread(sites, task, range(4))
    connection.gone.add("slow")
    assert spread(sites, task, range(4, 40)) == set() and len(task.done) == 40


def test_a_site_that_forgot_what_the_run_is_about_is_told_again() -> None:
    first = iter(["unknown"])
    connection, task = Scripted({"a": lambda unit: next(first, None)}), Numbers()
    assert spread(begun(connection), task, range(2)) == set()
    assert connection.prepared == ["a", "a"] and sorted(unit for unit, _ in task.done) == [0, 1]


def test_a_site_where_everything_fails_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    connection, task = Scripted({"a": lambda unit: None, "broken": lambda unit: "killed"}), Numbers()
    assert spread(begun(connection), task, range(30)) == set()
    assert len(task.done) == 30 and [site for site, _ in connection.asked].count("broken") == 3
    assert "broken is left out: failed 3 times in a row (killed)" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"version": "0"}, "has version 0 of this program and the coordinator 1"),
        ({"library": LIBRARY.model_copy(update={"isa": "AVX512"})}, "has another build of the engine (AVX512"),
        ({"cpus": 1}, "has 1 CPUs for --threads 2"),
        ({"available_bytes": 10}, "has 0.0 GB of memory available and 1.0 GB are needed"),
        ({"free_bytes": 10}, "has 0.0 GB free for its cache and 1.0 GB are needed"),
    ],
)
def test_a_site_that_is_not_as_it_must_be_is_left_out(
    other: dict[str, object], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    connection = Scripted({"a": lambda unit: None, "b": lambda unit: None}, {"b": report("b", **other)})
    task = Numbers()
    spread(begun(connection), task, range(3))
    assert {site for _, site in task.done} == {"a"} and f"b is left out: {said}" in capfd.readouterr().err
    with pytest.raises(BenchError) as refused:
        begun(Scripted({"b": lambda unit: None}, {"b": report("b", **other)}))
    assert said in str(refused.value)


def test_units_go_only_where_they_may_and_what_nobody_may_do_is_given_up() -> None:
    connection, task = Scripted({"a": lambda unit: None, "b": lambda unit: None}), Numbers()
    given_up = spread(
        begun(connection),
        task,
        range(9),
        only=lambda site, unit: unit != 8 and site.name == "ab"[unit % 2],
        waits=False,
    )
    assert given_up == {8} and len(task.done) == 8
    assert all(site == "ab"[unit % 2] for unit, site in task.done)


GPU = Device(name="Vulkan0", description="a card", kind="gpu", free=1, total=1)
OFFLOAD = Offload(device="Vulkan0", description="a card", layers=3)


def on(cpu: str, *devices: Device) -> SiteReport:
    return report("", machine=this_machine().model_copy(update={"cpu": cpu}), devices=devices)


def test_a_device_is_where_scores_are_and_times_are_of_one_cpu() -> None:
    reports = {
        "g": on("fast", GPU),
        "x": on("slow"),
        "y": on("slow"),
        "z": on("other"),
        "w": on("slow", GPU.model_copy(update={"description": "another"})),
    }
    connection = Scripted(dict.fromkeys(reports, lambda unit: None), {n: r.model_copy(update={"name": n}) for n, r in reports.items()})  # fmt: skip
    sites = Sites(connection, Reporter(), replace(REQUIRED, offload=OFFLOAD))
    sites.gather()
    members = {m.name: m for m in sites._members.values()}
    assert {n for n, m in members.items() if sites.scores(m)} == {"g"}
    assert {n for n, m in members.items() if sites.times(m)} == {"w", "x", "y"}


def test_where_all_have_the_device_all_are_timed() -> None:
    reports = {n: on("fast", GPU).model_copy(update={"name": n}) for n in "gh"}
    sites = Sites(Scripted(dict.fromkeys(reports, lambda unit: None), reports), Reporter(), replace(REQUIRED, offload=OFFLOAD))  # fmt: skip
    sites.gather()
    assert all(sites.scores(m) and sites.times(m) for m in sites._members.values())


def test_a_run_on_a_device_needs_a_site_that_has_it() -> None:
    connection = Scripted({"x": lambda unit: None})
    with pytest.raises(BenchError, match=r"no site has Vulkan0 \(a card\)"):
        Sites(connection, Reporter(), replace(REQUIRED, offload=OFFLOAD)).gather()


def test_what_no_site_may_do_waits_for_one_that_may(capfd: pytest.CaptureFixture[str]) -> None:
    """As where the one machine with a GPU starts again: others are there and cannot score."""
    connection = Scripted({"x": lambda unit: None, "g": lambda unit: None})
    connection.gone.add("g")
    sites, task = begun(connection), Numbers()

    def only(site: Member, unit: int) -> bool:
        return site.name == "g"

    def come() -> None:
        connection.gone.clear()

    timer = threading.Timer(0.3, come)
    timer.start()
    assert spread(sites, task, range(3), only=only) == set()
    assert {site for _, site in task.done} == {"g"} and len(task.done) == 3
    assert "the rest goes on when one joins" in capfd.readouterr().err


def test_a_site_that_nobody_can_stand_in_for_is_not_left_out() -> None:
    """Sites that are there for other work do not count."""
    connection = Scripted({"g": lambda unit: "bad file" if unit < 4 else None, "x": lambda unit: None})
    task = Numbers()
    given_up = spread(begun(connection), task, range(6), only=lambda site, unit: site.name == "g")
    assert given_up == {0, 1, 2, 3} == set(task.given_up) and {u for u, _ in task.done} == {4, 5}


def test_where_all_sites_are_refused_that_is_said() -> None:
    """And not given up without a word."""
    connection = Scripted({"a": lambda unit: None}, {"a": report("a", cpus=1)})
    sites = Sites(connection, Reporter(), REQUIRED)
    with pytest.raises(BenchError, match="no site can take part"):
        sites.gather()
    with pytest.raises(BenchError, match="no site can take part"):
        spread(sites, Numbers(), range(3), only=lambda site, unit: sites.scores(site))
