"""Two runs at once, in one directory, with one cache, or both: one waits or is refused, and neither spoils the other's."""

from __future__ import annotations

import random
import time
from pathlib import Path

from tests.stress.attack import Attack, Fault, Tried
from tests.stress.commands import Ended, ended, start, wait
from tests.stress.small_run import Outcome, SmallRun, copied, undisturbed

ABOUT = (
    "two runs at once in one directory, with one cache, or both, the second beginning at a random moment of the first"
)
UNIT = "pairs of runs"
GOAL = 50

_LIMIT = 60.0
_REFUSED = "another run is writing here; wait for it"


def prepare(folder: Path) -> Attack:
    small = SmallRun.prepare(folder)
    seconds, expected = undisturbed(small, whole := folder / "whole")

    def attack(rng: random.Random, scratch: Path) -> Tried:
        one_directory, one_cache = rng.choice(((True, True), (True, False), (False, True)))
        folders = [scratch / "a", scratch / ("a" if one_directory else "b")]
        caches = [scratch / "a" / "cache", scratch / ("a" if one_cache else "b") / "cache"]
        for name in ("a", "b", "a/output", "b/output"):
            (scratch / name).mkdir()
        if rng.random() < 0.3:  # the first has everything but a few records already
            copied(whole, scratch / "a", rng.randint(1, 20))
        # most often the second begins while the first does: then both make the same things
        delay = rng.choice((0.0, rng.uniform(0, 0.3), rng.uniform(0, seconds)))
        told = f"directory {one_directory}, cache {one_cache}, after {delay:.2f} s\n"
        (scratch / "WHAT.txt").write_text(told, encoding="utf-8")

        given = [small.arguments(f, c) for f, c in zip(folders, caches, strict=True)]
        outputs = [scratch / "a" / "output", scratch / "b" / "output"]
        first, began = start(given[0], outputs[0]), time.monotonic()
        time.sleep(delay)
        second = start(given[1], outputs[1])
        codes = [wait(pid, _LIMIT) for pid in (first, second)]
        spent = time.monotonic() - began
        both = [
            ended(arguments, output, pid, code, spent)
            for arguments, output, pid, code in zip(given, outputs, (first, second), codes, strict=True)
        ]
        faults = _wrong_end(both, one_directory=one_directory)
        # in one directory either may have measured, and the other's cache holds little
        spare = None if one_cache else "cache/"
        for mine, place, cache in zip(both, folders, caches, strict=True):
            if mine.code == 0:
                faults += expected.differences(Outcome.of(place, cache), may_lack=spare)
        return Tried(tuple(both), tuple(faults))

    return attack


def _wrong_end(both: list[Ended], *, one_directory: bool) -> list[Fault]:
    """Each ends well, or is refused in one line by the other, which then ends well."""
    faults = []
    for mine, other in (both, reversed(both)):
        refused = one_directory and other.code == 0 and mine.code == 2 and _REFUSED in mine.err
        if mine.code != 0 and not (refused and len(mine.err.strip().splitlines()) == 1):
            faults.append(Fault("neither ends well nor is refused", f"{mine.code}\n{mine.err[-3000:]}"))
    return faults
