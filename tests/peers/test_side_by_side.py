"""Two sides in alternating slices of time: real processes that are really stopped."""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.peers.side_by_side import Command, side_by_side

_TICKS = """
import subprocess, sys, time
if len(sys.argv) > 2:  # let a child do it
    raise SystemExit(subprocess.call([sys.executable, sys.argv[2], sys.argv[1]]))
end = time.monotonic() + 0.6
while time.monotonic() < end:
    with open(sys.argv[1], "a") as f:
        f.write(f"{time.time()}\\n")
    time.sleep(0.005)
print("done")
"""


def ticks(path: Path) -> list[float]:
    return [float(line) for line in path.read_text().splitlines()]


def test_one_side_stands_still_while_the_other_runs(tmp_path: Path) -> None:
    script = tmp_path / "ticks.py"
    script.write_text(_TICKS)
    out = tmp_path / "watched" / "deep" / "a"
    out.parent.mkdir(parents=True)
    alone = [Command([sys.executable, script, out], watched=tmp_path / "watched")]
    with_child = [Command([sys.executable, script, tmp_path / "b", script])]
    started = time.perf_counter()
    a, b = side_by_side(alone, with_child, slice_seconds=0.1)
    wall = time.perf_counter() - started
    assert a.printed == ("done\n",) and b.printed == ("done\n",)
    assert a.disk_bytes == out.stat().st_size > 0
    assert a.peak_bytes > 1e6 and b.peak_bytes > 1e6
    # what either was charged adds up to the time that went by, and no more
    assert a.seconds + b.seconds <= wall
    switches = sorted([(t, "a") for t in ticks(out)] + [(t, "b") for t in ticks(tmp_path / "b")])
    turns = sum(x[1] != y[1] for x, y in pairwise(switches))
    assert 3 <= turns <= 20, "slices of many ticks in turn; side by side they would alternate at every tick"


def test_a_turn_may_be_a_whole_command(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write = (
        "import sys, time; f = open(sys.argv[1], 'a'); f.write(sys.argv[2]); f.flush(); time.sleep(0.1); f.write('.')"
    )
    sides = [[Command([sys.executable, "-c", write, log, side]) for _ in range(3)] for side in "ab"]
    one, two = side_by_side(*sides, slice_seconds=None)
    assert log.read_text() == "a.b.a.b.a.b."
    assert one.seconds >= 0.3 and two.seconds >= 0.3


def test_a_command_that_fails_ends_both_sides(tmp_path: Path) -> None:
    started = time.perf_counter()
    with pytest.raises(BenchError, match=r"ended with code 3: no luck"):
        side_by_side(
            [Command([sys.executable, "-c", "print('no luck'); raise SystemExit(3)"])],
            [Command([sys.executable, "-c", "import time; time.sleep(60)"])],
            slice_seconds=0.2,
        )
    assert time.perf_counter() - started < 30
