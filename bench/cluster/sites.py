"""The coordinator's side: which sites there are, and which of them may take part.

A site does one thing at a time and nothing beside it, so that times are those of a machine that does nothing else. What it is
asked stands in units.py.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from queue import Empty, Queue

from bench.cluster.connection import Connection, LostSiteError, Question
from bench.cluster.protocol import PrepareAnswer, Setup, SiteReport, setup_key
from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.engine.jobs import Device
from bench.engine.settings import LibraryInfo, Offload

#: Seconds between looks at which sites there are.
_LOOK = 1.0
#: Seconds for sites to say what they are.
_TO_JOIN = 30.0
#: Seconds more that others get where none of the sites can take part.
_LATE = 3.0
#: A site that so many looks in a row do not find is lost.
_MISSED = 2
#: A site that fails so often in a row is left out.
_TOO_OFTEN = 3
#: The number of questions to a site about itself.
_ABOUT_ITSELF = 0


@dataclass
class Member:
    """A site that was seen. report: what it said of itself; ready: whether it may work; busy: the number of what it is asked, None while it
    waits; shares: whether its cache is the coordinator's; refused: why it may not take part; missed: looks in a row that did not find it; failures: of what it did, in a row."""

    address: str
    name: str
    report: SiteReport | None = None
    ready: bool = False
    busy: int | None = None
    shares: bool = False
    refused: str | None = None
    missed: int = 0
    failures: int = 0

    def is_same(self, other: Member) -> bool:
        """Whether both are one site of one machine, perhaps in another process."""
        return self.name == other.name and self.address.rpartition(":")[0] == other.address.rpartition(":")[0]


@dataclass(frozen=True)
class Required:
    """What a site must be like to take part: the same program and engine, so many CPUs and bytes. offload: the device that scores are computed on, None for the CPU; sites
    without it only time."""

    version: str
    library: LibraryInfo
    threads: int
    memory: float
    disk: float
    offload: Offload | None = None

    def scores(self, site: SiteReport) -> bool:
        """Whether a site may score."""
        return self.offload is None or has_device(site.devices, self.offload)

    def lacks(self, site: SiteReport) -> str | None:
        """Why a site cannot take part, with the remedy; None where it can."""
        if site.version != self.version:
            return f"has version {site.version} of this program and the coordinator {self.version}; install the same at both"
        if site.library != self.library:
            ours, theirs = (
                f"{i.isa}, llama.cpp {i.llama_cpp}, llama-cpp-python {i.binding}" for i in (self.library, site.library)
            )
            return f"has another build of the engine ({theirs}; the coordinator: {ours}); build it alike, its scores would differ"
        if site.cpus < self.threads:
            return f"has {site.cpus} CPUs for --threads {self.threads}; give fewer threads"
        if site.available_bytes < self.memory:
            return f"has {site.available_bytes / 1e9:.1f} GB of memory available and {self.memory / 1e9:.1f} GB are needed; end other programs"
        if site.free_bytes < self.disk:
            return f"has {site.free_bytes / 1e9:.1f} GB free for its cache and {self.disk / 1e9:.1f} GB are needed; start it with another --cache"
        return None


def has_device(devices: Iterable[Device], offload: Offload | None) -> bool:
    """Whether a device is among those of a machine: of the same name and description."""
    return offload is not None and (offload.device, offload.description) in {(d.name, d.description) for d in devices}


@dataclass
class Sites:
    """The sites of a run. connection: how they are reached; required: what they must be like; key: of what they were handed."""

    connection: Connection
    reporter: Reporter
    required: Required
    key: str = ""
    _setup: Setup | None = None
    _members: dict[str, Member] = field(default_factory=dict)
    _came: Queue[tuple[Member, int, str | LostSiteError]] = field(default_factory=Queue)
    _numbers: Iterator[int] = field(default_factory=lambda: count(_ABOUT_ITSELF + 1))
    _looked: float = 0.0
    _told: set[str] = field(default_factory=set)
    _was_alone: bool = False
    _timing_cpu: str = ""

    def gather(self) -> None:
        """Wait until the sites that are there have said what they are. Raises BenchError where none can take part."""
        latest = time.monotonic() + _TO_JOIN
        while time.monotonic() < latest:
            self.look(wait=False)
            for _ in self.answers():
                pass  # nothing else was asked yet
            known = self._members.values()
            if any(s.report is not None for s in known) and all(s.report is not None or s.refused for s in known):
                if any(self.scores(s) for s in known):
                    return
                latest = min(latest, time.monotonic() + _LATE)  # one with the device may be about to join
            if known and all(s.refused for s in known):
                latest = min(latest, time.monotonic() + _LATE)
        reported, offload = [s for s in self._members.values() if s.report is not None], self.required.offload
        if not reported:
            raise self._nobody()
        if offload is not None and not any(self.scores(s) for s in reported):
            raise BenchError(
                f"--score-on {offload.device}: no site has {offload.in_words}; start `worker` on a machine that has it, with the same build of the engine as here"
            )

    def scores(self, site: Member) -> bool:
        """Whether a site may compute scores: it has the device that a run names, if it names one."""
        return site.report is not None and self.required.scores(site.report)

    def times(self, site: Member) -> bool:
        """Whether a site may time where a device scores. Times of one CPU model compare only: that of most sites without the device, or of all where each has it, once
        chosen for as long as a site has it. Of these, sites without the device do it, where there are any."""
        there = [(s, s.report.machine.cpu) for s in self._members.values() if s.report is not None and not s.refused]
        if self._timing_cpu not in {cpu for _, cpu in there}:
            cpus = Counter(cpu for s, cpu in there if not self.scores(s)) or Counter(cpu for _, cpu in there)
            self._timing_cpu = max(cpus, key=lambda cpu: (cpus[cpu], cpu), default="")
        alike = [s for s, cpu in there if cpu == self._timing_cpu]
        return site in ([s for s in alike if not self.scores(s)] or alike)

    def _nobody(self) -> BenchError:
        """Says that no site can take part."""
        if not self._members:
            return BenchError("--cluster: no site is there; start one on each machine with `worker`")
        first = next(iter(self._members.values()))
        return BenchError(f"--cluster: no site can take part; {first.name} {first.refused or 'does not answer'}")

    def begin(self, setup: Setup) -> None:
        """Hand the sites what the run is about, unless they have it."""
        if self.key == (key := setup_key(setup)):
            return
        self._setup, self.key = setup, key
        for site in self._members.values():
            site.ready = False
            if site.report is not None and site.busy is None:
                self.prepare(site)

    # --- which sites there are -----------------------------------------------------------------------------------------

    def look(self, *, wait: bool) -> None:
        """Take in sites that came, and let go of those that went; now and then. wait: whether work waits, for which a site is needed.

        Raises BenchError where none of those that are there can do it.
        """
        if time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        there = self.connection.sites()
        for address, member in self._members.items():
            member.missed = 0 if address in there else member.missed + 1
        for address in [a for a, m in self._members.items() if m.missed >= _MISSED]:
            gone = self._members.pop(address)
            self.connection.forget(address)
            if gone.busy is not None and gone.busy > _ABOUT_ITSELF:
                self._came.put((gone, gone.busy, LostSiteError()))
            if not gone.refused:
                left = f"{len(self._members)} {'site is' if len(self._members) == 1 else 'sites are'} left"
                self.reporter.warn(f"{gone.name} is lost; {left}")
        for address, name in there.items():
            if address not in self._members:
                site = self._members[address] = Member(address, name)
                self.ask(site, "report", "", _ABOUT_ITSELF)
        if wait and not self._members and not self._was_alone:
            self.reporter.warn(
                "no site is there; the run goes on when one joins (`worker`), and Ctrl-C ends it with all that is on record"
            )
        self._was_alone = not self._members
        if wait and self._members and all(s.refused for s in self._members.values()):
            raise self._nobody()

    def idle(self) -> list[Member]:
        return [s for s in self._members.values() if s.ready and s.busy is None]

    def has(self, wanted: Callable[[Member], bool]) -> bool:
        """Whether there is a site of some kind that may take part; one that has not said all of itself yet may be."""
        return any(wanted(s) or not s.ready for s in self._members.values() if not s.refused)

    def tell_of_waiting(self) -> None:
        """Say once that a site with the run's device is waited for."""
        device = self.required.offload
        told = f"no site with {device.in_words if device else 'what is needed'} is there; the rest goes on when one joins (`worker`), and Ctrl-C ends the run with all that is on record"
        if told not in self._told:
            self._told.add(told)
            self.reporter.warn(told)

    def has_beside(self, tried: Collection[Member], wanted: Callable[[Member], bool]) -> bool:
        """Whether a site of some kind that may work is none of these, in another process neither."""
        members = self._members.values()
        return any(s.ready and wanted(s) and not any(s.is_same(t) for t in tried) for s in members)

    def ask(self, site: Member, question: Question, payload: str, number: int | None = None) -> int:
        """Ask a site that waits. Returns the number of the question, which its answer has too."""
        number = next(self._numbers) if number is None else number
        site.busy = number
        self.connection.ask(site.address, question, payload, lambda came: self._came.put((site, number, came)))
        return number

    def answers(self) -> Iterator[tuple[int, str | LostSiteError]]:
        """Wait a moment for what sites answer, by the number of the question; what they say of themselves is seen to here."""
        try:
            site, number, came = self._came.get(timeout=_LOOK)
        except Empty:
            return
        if site.busy != number:  # it was lost, or so it seemed, or nobody waits for this any more
            if site.busy == -number:
                site.busy = None
                if not site.ready and site.refused is None:  # it was handed nothing while it was busy
                    self.prepare(site)
            return
        site.busy = None
        if isinstance(came, LostSiteError) and came.reason is None:  # the next look finds it gone, or asks it anew
            self._members.pop(site.address, None)
            self._looked = 0.0
        if number != _ABOUT_ITSELF:
            yield number, came
        elif isinstance(came, LostSiteError):
            if came.reason is not None:
                self._refuse(site, came.reason)
        elif site.report is None:
            self._reported(site, PrepareAnswer.model_validate_json(came))
        else:
            self._prepared(site, PrepareAnswer.model_validate_json(came))

    def drop(self, numbers: Collection[int]) -> None:
        """Nobody waits for these answers any more: a site is free again when it has given its own."""
        for site in self._members.values():
            if site.busy in numbers:
                site.busy = -(site.busy or 0)

    def _reported(self, site: Member, answer: PrepareAnswer) -> None:
        if answer.report is not None:
            site.name = answer.report.name
        reason = answer.error if answer.report is None else self.required.lacks(answer.report)
        if answer.report is None or reason is not None:
            self._refuse(site, reason or "says nothing of itself")
            return
        site.report = answer.report
        if self._setup is not None:
            self.prepare(site)

    def prepare(self, site: Member) -> None:
        """Hand a site that waits what the run is about."""
        assert self._setup is not None
        site.ready = False
        self.ask(site, "prepare", self._setup.model_dump_json(), _ABOUT_ITSELF)

    def _prepared(self, site: Member, answer: PrepareAnswer) -> None:
        for text in answer.warnings:
            self.reporter.warn(f"{site.name}: {text}")
        if answer.error is not None:
            self._refuse(site, answer.error)
            return
        site.ready, site.shares = True, answer.shares
        assert site.report is not None
        if site.name not in self._told:
            device = self.required.offload
            does = "" if device is None else f"; scores on {device.device}" if self.scores(site) else ""
            self.reporter.say(f"{site.name} takes part: {site.report.machine}{does}")
        self._told.add(site.name)

    def failed(self, site: Member, reason: str, wanted: Callable[[Member], bool]) -> None:
        """Something went wrong at a site: one where everything does is left out, as long as there are others. wanted: whether a site may do the same."""
        site.failures += 1
        if site.failures >= _TOO_OFTEN and any(s is not site and s.ready and wanted(s) for s in self._members.values()):
            site.ready = False
            self._refuse(site, f"failed {site.failures} times in a row ({reason}); look at it, and start it again")

    def _refuse(self, site: Member, reason: str) -> None:
        site.refused = reason
        self.reporter.warn(f"{site.name} is left out: {reason}")
