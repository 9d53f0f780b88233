"""Runs whose processes are killed at random moments: the same command must end as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.stress.attack import Attack, Fault, Tried
from tests.stress.commands import begun_by, ended, start, wait
from tests.stress.small_run import Outcome, SmallRun, complete, complete_lines, copied, lost, undisturbed

ABOUT = "the program, its server of workers, a worker, a file's process or all of them killed at a random moment of a run, which is then given again"
UNIT = "kills"
GOAL = 500

_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_VICTIMS = ("program", "server", "worker", "group", "file")
#: Seconds that processes of a killed program get to end: they may be in the middle of their imports, on a loaded machine.
_GRACE = 20.0
#: Seconds that a command may go on after the kill.
_LIMIT = 60.0


def prepare(folder: Path) -> Attack:
    small = SmallRun.prepare(folder)
    seconds, expected = undisturbed(small, whole := folder / "whole")
    n_lines = len(complete_lines(whole).splitlines())
    # what lasts longest is killed most often, whatever the machine's load
    places = [None, None, *range(1, n_lines)]

    def attack(rng: random.Random, scratch: Path) -> Tried:
        victim, kind = rng.choice(_VICTIMS), rng.choice(_SIGNALS)
        copied(whole, scratch, at := rng.choice(places))
        delay = rng.uniform(0, seconds if at is None else seconds * (1 - 0.6 * at / n_lines))
        temporary = scratch / "tmp"
        temporary.mkdir()
        env = {"TMPDIR": str(temporary)}
        (scratch / "WHAT.txt").write_text(
            f"{victim} {kind.name} after {delay:.2f} s from line {at}\n", encoding="utf-8"
        )

        before, arguments = complete_lines(scratch), small.arguments(scratch)
        pid, began = start(arguments, scratch, env=env), time.monotonic()
        _kill(pid, victim, kind, began + delay)
        code = wait(pid, _LIMIT)
        killed = ended(arguments, scratch, pid, code, time.monotonic() - began, grace=_GRACE)
        (scratch / "killed.err").write_text(killed.err, encoding="utf-8")
        faults = lost(before, scratch)
        by_signal = code is not None and code < 0 and kind == signal.SIGKILL and victim in ("program", "group")
        if by_signal and killed.left:
            faults.append(Fault("process left behind", "\n".join(killed.left)))
        commands, more = complete(small, scratch, env)
        faults += more
        if not any(c.fault for c in commands) and commands[-1].code == 0:
            faults += expected.differences(Outcome.of(scratch))
            faults += [Fault("file left behind", str(p)) for p in temporary.rglob("*")]
        return Tried(tuple(commands) if by_signal else (killed, *commands), tuple(faults))

    return attack


def _kill(pid: int, victim: str, kind: signal.Signals, when: float) -> None:
    """Send a signal at a moment of the monotonic clock, or as soon as there is the process that it is for."""
    while (left := when - time.monotonic()) > 0 and not _has_ended(pid):
        time.sleep(min(left, 0.05))
    while not _has_ended(pid):
        if targets := _targets(pid, victim):
            for target in targets:
                with suppress(ProcessLookupError):
                    os.kill(target, kind)
            return
        time.sleep(0.001)


def _targets(pid: int, victim: str) -> list[int]:
    """Process ids of the victims. A server is a child of the program, a worker one of a server, and the process of a file one of a worker,
    where files are measured side by side; of these the first is taken."""
    if victim == "program":
        return [pid]
    found = begun_by(pid)
    servers = [p.pid for p in found if _parent(p) == pid]
    if victim == "group":
        return [pid, *(p.pid for p in found)]
    workers = [p.pid for p in found if _parent(p) in servers]
    files = [p.pid for p in found if _parent(p) in workers]
    return {"server": servers, "worker": workers, "file": files[:1]}[victim]


def _parent(process: psutil.Process) -> int | None:
    with suppress(psutil.Error):
        return process.ppid()
    return None


def _has_ended(pid: int) -> bool:
    """Whether a child of this process has ended, which is still to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
