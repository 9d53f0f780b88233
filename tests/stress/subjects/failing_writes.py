"""Runs of which one call that writes fails, as on a disk that is full or broken: every call in turn."""

from __future__ import annotations

import errno
import random
import re
import shutil
import subprocess
from pathlib import Path

from tests.stress.attack import Attack, Each, Fault, Tried
from tests.stress.commands import Ended, run
from tests.stress.small_run import Outcome, SmallRun, complete

ABOUT = "a run whose n-th call that writes fails (full disk, quota, broken disk), once or from then on, and which is then given again"
UNIT = "failing calls"
#: As many as a run has: see Each.
GOAL = 100_000

_SOURCE = Path(__file__).parents[1] / "native" / "failing_writes.c"
_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
_HOW = ("once", "onwards", "half")
#: Seconds of a run that loads everything anew.
_LIMIT = 60.0
#: What need not be there after a failure: a tensor's blocks, which save time only.
_SPARE = "cache/blocks/"


def prepare(folder: Path) -> Attack | Each:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        print("  failing-writes: no C compiler is here (cc), so nothing is tried", flush=True)
        return Each((), _never)
    library = folder / "failing_writes.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl"], check=True)
    small, whole = SmallRun.prepare(folder), folder / "whole"
    whole.mkdir()
    env = _environment(library, whole) | {"FAIL_LOG": str(folder / "calls.txt")}
    made = run(small.arguments(whole), whole, env=env, anew=True, limit=600)
    assert made.code == 0, made.err
    expected, calls = Outcome.of(whole), sorted((folder / "calls.txt").read_text().splitlines(), key=_number)
    assert len(calls) > 100, "the calls of a run are not seen"

    def attack(number: int, rng: random.Random, scratch: Path) -> Tried:
        error, how = rng.choice(_ERRORS), rng.choice(_HOW)
        told = {
            "FAIL_AT": str(number + 1),
            "FAIL_WITH": str(error),
            "FAIL_HOW": how,
            "FAIL_LOG": str(scratch / "calls.txt"),
        }
        env = _environment(library, scratch)
        (scratch / "WHAT.txt").write_text(f"call {number + 1}, {errno.errorcode[error]} {how}\n", encoding="utf-8")
        broken = run(small.arguments(scratch), scratch, env=env | told, anew=True, limit=_LIMIT)
        (scratch / "broken.err").write_text(broken.err, encoding="utf-8")
        faults = _untold(broken)
        commands, more = complete(small, scratch)
        faults += more
        if not any(c.fault for c in commands) and commands[-1].code == 0:
            faults += expected.differences(Outcome.of(scratch), may_lack=_SPARE)
            faults += [Fault("file left behind", str(p)) for p in (scratch / "tmp").rglob("*")]
        return Tried((broken, *commands), tuple(faults))

    return Each([_kind(call, whole) for call in calls], attack)


def _number(call: str) -> int:
    return int(call.split()[0])


def _kind(call: str, folder: Path) -> str:
    """What is called, in which folder, for a file that is called how."""
    _, name, path = call.split(" ", 2)
    place = Path(re.sub(r"\.\d+@[0-9a-f]+\.partial$", "", path)).relative_to(folder)
    return f"{name} {'/'.join(place.parts[:2]) if len(place.parts) > 2 else place.parent} {'' if 'blocks' in place.parts else place.suffix}"


def _environment(library: Path, folder: Path) -> dict[str, str]:
    """What has the calls of a command in a folder counted."""
    counter, temporary = folder / ".counter", folder / "tmp"
    counter.write_bytes(bytes(8))
    temporary.mkdir()
    below = ":".join(str(folder / name) for name in ("cache", "run", "tmp"))
    return {
        "LD_PRELOAD": str(library),
        "FAIL_BELOW": below,
        "FAIL_COUNTER": str(counter),
        "TMPDIR": str(temporary),
    }


def _untold(broken: Ended) -> list[Fault]:
    """Whether the error says no more than the system does: what to do about it belongs there too."""
    errors = [line for line in broken.err.splitlines() if line.startswith("error: ")]
    if len(errors) > 1 or any("[Errno" in line for line in errors):
        return [Fault("error without a remedy", "\n".join(errors))]
    if broken.code == 2 and broken.err.strip().splitlines()[-1:] != errors:
        return [Fault("error of many lines", broken.err[-3000:])]
    return []


def _never(number: int, rng: random.Random, scratch: Path) -> Tried:
    raise AssertionError("there is nothing to try")
