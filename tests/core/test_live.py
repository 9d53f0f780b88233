"""The live display, in a real pseudo-terminal: what is left on the screen, and how often it is drawn."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from pathlib import Path

import pytest
from rich.console import Console

from bench.core.live import _IDLE, Screen
from bench.core.pace import Expected, Pace

#: A run of three stages, with a warning between and a path as long as they come.
_PROGRAM = """
from bench.core.pace import Expected
from bench.core.progress import Reporter
reporter = Reporter()
with reporter.stages({"Importance matrix": Expected(10.0), "Scoring and timing": Expected(30.0, 2), "Infill problems": Expected()}):
    with reporter.stage("Importance matrix"), reporter.steps("Importance matrix", 1) as steps:
        steps.share(0.5)
    with reporter.stage("Scoring and timing"), reporter.steps("Scoring and timing", 2) as steps:
        for window in range(2):
            steps.name(f"pass {window + 1} of 2, " + "a-long-name/" * 12 + "end")
            reporter.warn("a warning of [bold] size " + "word " * 20)
            steps.done()
    with reporter.stage("Infill problems"), reporter.steps("Infill problems", 3) as steps:
        steps.done()
print("the result")
"""


def screen_of(width: int, height: int = 40) -> tuple[str, str]:
    """(all that the program wrote to a terminal, in order; what is left of it when it is read as lines)."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", NO_COLOR="1")
        os.environ.pop("COLUMNS", None)
        time.sleep(0.2)  # until the size is set
        os.execv(sys.executable, [sys.executable, "-c", _PROGRAM])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    written = b""
    while True:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, "the program hangs"
        try:
            part = os.read(terminal, 65536)
        except OSError:  # its end, as Linux has it
            break
        if not part:
            break
        written += part
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, written.decode()
    text = written.decode()
    return text, _left_of(text)


def _left_of(text: str) -> str:
    """The screen, for what rich writes: lines, the cursor up a line, a line erased."""
    lines, at = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            at += 1
            lines += [""] * (at + 1 - len(lines))
        elif part == "\x1b[2K":
            lines[at] = ""
        elif re.fullmatch(r"\x1b\[\d*A", part):
            at -= int(part[2:-1] or 1)
        elif not part.startswith("\x1b") and part != "\r":
            lines[at] = part
    return "\n".join(lines)


@pytest.mark.parametrize("width", [80, 120])
def test_what_is_done_looks_done_and_nothing_is_cut(width: int) -> None:
    written, left = screen_of(width)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert max(len(line) for part in plain.split("\n") for line in part.split("\r")) <= width
    assert "…" not in plain and "about 30 s" in plain and "not forecast" in plain
    assert "a-long-name/" * 12 + "end" in "".join(plain.split()), "a long step is folded"
    *_, matrix, scoring, problems, done, result = left.rstrip().splitlines()
    for line, name in ((matrix, "Importance matrix"), (scoring, "Scoring and timing"), (problems, "Infill problems")):
        assert re.fullmatch(rf"✓ {name} +\d:\d\d *", line), left
    assert re.fullmatch(r"Done after \d:\d\d", done.strip()) and result == "the result"
    assert left.count("warning: a warning of [bold] size") == 2, "what is said stays above the display"


def test_it_is_drawn_again_at_least_every_ten_seconds_while_nothing_happens() -> None:
    assert _IDLE <= 10
    drawn = Console(file=sys.stderr, force_terminal=True)
    with Screen(Pace({"a": Expected(1.0)}), drawn) as screen:
        live = screen._live
        assert live.auto_refresh and 1 / live.refresh_per_second == _IDLE


def test_many_steps_in_a_moment_are_not_all_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Drawing takes a moment of a core that may be the one that is timed."""
    with (tmp_path / "drawn").open("w") as file:
        pace = Pace({"a": Expected(1.0)})
        with Screen(pace, Console(file=file, force_terminal=True, width=80)) as screen:
            drawn: list[int] = []
            monkeypatch.setattr(screen._live, "refresh", lambda: drawn.append(1))
            for _ in range(1000):
                screen.show("step", at_once=False)
            assert len(drawn) <= 1
            screen.show("another step")
            assert drawn


def test_a_long_name_is_folded_and_not_cut(tmp_path: Path) -> None:
    name = "Downloading " + "a-very-long-model-name-" * 5 + "F16.gguf"
    with (tmp_path / "drawn").open("w", encoding="utf-8") as file:
        pace = Pace({name: Expected()})
        with Screen(pace, Console(file=file, force_terminal=True, width=80, no_color=True)) as screen:
            pace.begin(name)
            pace.reach(0.5)
            screen.show("")
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", (tmp_path / "drawn").read_text("utf-8"))
    assert "…" not in drawn and max(map(len, drawn.splitlines())) <= 80
    assert "F16.gguf" in drawn
