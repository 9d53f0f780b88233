"""Folders of a process that is killed, and what is told of the system's errors."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.core.files import folder_for_now, remove_left_behind, told


def test_a_folder_for_now_is_gone_after_the_block_and_so_is_one_of_a_killed_process(tmp_path: Path) -> None:
    killed = tmp_path / "models" / ".download.999999999.partial"
    killed.mkdir(parents=True)
    with folder_for_now(tmp_path / "models", "download") as folder:
        (folder / "half").touch()
        assert list(folder.parent.iterdir()) == [folder], "nothing else is left"
    assert not list((tmp_path / "models").iterdir())


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    expected = pytest.raises(
        BenchError, match=r"models: cannot be written \(Not a directory\); choose another directory"
    )
    with expected, folder_for_now(tmp_path / "models", "download"):
        pass


@pytest.mark.parametrize(
    ("error", "remedy"),
    [(errno.ENOSPC, "free some space"), (errno.EDQUOT, "free some space"), (errno.EIO, "permissions")],
)
def test_errors_of_the_system_say_what_to_do(error: int, remedy: str) -> None:
    line = told(OSError(error, "what it is called", "/cache/file"))
    assert line.startswith("/cache/file: ") and "what it is called" in line and remedy in line and "Errno" not in line


def test_a_process_that_has_ended_holds_nothing_though_nobody_waited_for_it(tmp_path: Path) -> None:
    """In a container there may be nobody who does."""
    zombie = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    held = tmp_path / f".a.gguf.{zombie.pid}.partial"
    held.touch()
    remove_left_behind(tmp_path)
    assert held.exists()
    zombie.kill()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is not gone
    remove_left_behind(tmp_path)
    assert not held.exists()
    zombie.communicate()
