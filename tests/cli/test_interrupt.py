"""Requests to end, wherever they come."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

LINE = "interrupted; what was measured is kept, the same command goes on from there\n"

#: A program whose command is asked to end in what is called when an object is gone, where nothing can be raised.
_UNRAISABLE = """
import os, time
from bench.__main__ import main
from bench.cli import app

class Gone:
    def __del__(self):
        os.kill(os.getpid(), SIGNAL)
        time.sleep(0)

def command():
    Gone()
    time.sleep(60)

app.app = lambda *_, **__: command()
main()
"""
#: One that is asked again while it ends.
_TWICE = """
import os, time
from bench.__main__ import main
from bench.cli import app

def command(*_, **__):
    try:
        os.kill(os.getpid(), SIGNAL)
        time.sleep(60)
    finally:
        os.kill(os.getpid(), SIGNAL)
        time.sleep(60)

app.app = command
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("program", "told"), [(_UNRAISABLE, LINE), (_TWICE, "")])
def test_a_request_to_end_is_never_lost(number: signal.Signals, program: str, told: str) -> None:
    source = program.replace("SIGNAL", str(int(number)))
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", told)
