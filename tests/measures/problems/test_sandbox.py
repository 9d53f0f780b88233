"""Code that a model might write by accident, and some that it would not: what is no pass, within the limits, with nothing left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from bench.core.errors import BenchError
from bench.measures.problems import confined, sandbox
from bench.measures.problems.sandbox import Limits, passes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no code is run elsewhere")

RIGHT = "def twice(x):\n    return 2 * x\n"
CHECK = ">>> twice(2)\n4\n"
#: As code gets at what it may not import.
OS = "import sys\nos = sys.modules['os']\n"
LIMITS = Limits(cpu=1, wall=5)


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """No process of the sandbox's and no file is there after a test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    yield
    assert [p for p in psutil.process_iter(["cmdline"]) if str(sandbox._SCRIPT) in (p.info["cmdline"] or [])] == []
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_is_right_passes_and_what_is_wrong_does_not() -> None:
    assert passes(RIGHT, [CHECK, ">>> twice('a')\n'aa'\n"])
    assert not passes(RIGHT.replace("2 *", "3 *"), [CHECK])
    assert not passes(RIGHT, [CHECK, ">>> twice(2)\n5\n"])
    assert not passes("def twice(x:\n", [CHECK])


def test_ordinary_modules_work() -> None:
    source = (
        "from __future__ import annotations\nimport dataclasses, decimal, datetime, json, re, random, statistics, urllib.parse, copy\n"
        "from collections import OrderedDict\nfrom typing import NamedTuple\n"
        "@dataclasses.dataclass\nclass A:\n    x: int = 1\nclass B(NamedTuple):\n    y: int\n"
        "print('as a module that prints does')\n"
    )
    check = (
        ">>> A(), B(2)\n(A(x=1), B(y=2))\n>>> datetime.datetime.strptime('2024', '%Y').year\n2024\n"
        ">>> copy.copy(statistics.median([1, 2, 9]))\n2\n>>> len(str(7**1000))\n846\n>>> 1 / 0\nTraceback (most recent call last):\nZeroDivisionError: division by zero\n"
    )
    assert passes(source, [check])


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("while True:\n    pass\n", id="an endless loop"),
        pytest.param("x = bytearray(10**10)\n", id="ten gigabytes at once"),
        pytest.param("x = []\nwhile True:\n    x.append('x' * 10**6)\n", id="memory bit by bit"),
        pytest.param("while True:\n    print('again')\n", id="endless output"),
        pytest.param("import time\ntime.sleep(100)\n", id="sleeps"),
        pytest.param(OS + "while True:\n    os.fork()\n", id="a fork bomb"),
        pytest.param(OS + "os.system('true')\n", id="a shell"),
        pytest.param(OS + "os._exit(0)\n", id="ends at once with 0"),
        pytest.param("import sys\nsys.exit(0)\n", id="ends with 0"),
        pytest.param(OS + "os.kill(os.getppid(), 9)\n", id="ends others"),
        pytest.param("def deep(n):\n    return deep(n + 1)\ndeep(0)\n", id="deep recursion"),
        pytest.param("x = " + "(" * 5000 + ")" * 5000 + "\n", id="deep nesting"),
        pytest.param("import subprocess\n", id="a module that starts processes"),
        pytest.param("try:\n    import os\nexcept BaseException:\n    pass\n", id="catches the refusal of a module"),
        pytest.param("open('x', 'w')\n", id="opens a file to write"),
        pytest.param("try:\n    open('x', 'a')\nexcept BaseException:\n    pass\n", id="catches the refusal of a file"),
        pytest.param(OS + "os.mkdir('x')\n", id="makes a folder"),
        pytest.param("raise KeyboardInterrupt\n", id="an interrupt"),
        pytest.param("input()\n", id="reads what is not there"),
        pytest.param("\0", id="no source"),
    ],
)
def test_no_pass(code: str) -> None:
    began = time.monotonic()
    assert not passes(RIGHT + code, [CHECK], Limits(cpu=1, wall=1.5) if "sleep" in code else LIMITS)
    assert time.monotonic() - began < LIMITS.wall + 2


@pytest.mark.parametrize("raised", ["SystemExit(0)", "KeyboardInterrupt", "RecursionError"])
def test_no_pass_where_a_doctest_ends_early(raised: str) -> None:
    assert not passes(f"def twice(x):\n    raise {raised}\n", [CHECK], LIMITS)


def test_a_file_without_its_doctests_must_pass_them_all_the_same() -> None:
    wrong = 'def twice(x):\n    """>>> twice(2)\n    5\n    """\n    return 5\n'
    assert not passes(wrong + "twice.__doc__ = None\n", [CHECK])
    assert not passes("del twice\n".join([RIGHT, ""]), [CHECK])


def test_no_file_is_written_or_deleted(tmp_path: Path) -> None:
    there, new = tmp_path / "there", tmp_path / "new"
    there.write_text("kept")
    for code in (
        f"open({str(new)!r}, 'w').write('x')",
        f"{OS}os.close(os.open({str(new)!r}, os.O_CREAT))",
        f"{OS}os.remove({str(there)!r})",
        f"{OS}os.truncate({str(there)!r}, 0)",
        f"import io\nio.FileIO({str(there)!r}, 'w')",
    ):
        assert not passes(f"{RIGHT}{code}\n", [CHECK], LIMITS), code
    assert there.read_text() == "kept" and not new.exists()


def test_no_socket_is_opened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        for code in (
            f"import socket\nsocket.create_connection(('127.0.0.1', {port}))\n",
            f"import sys\nsys.modules['builtins'].__import__('socket').create_connection(('127.0.0.1', {port}))\n",
        ):
            assert not passes(RIGHT + code, [CHECK], LIMITS)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_environment_is_empty_and_so_is_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert passes(OS, [">>> 'SECRET' in os.environ, os.listdir()\n(False, [])\n"])


def test_the_kernel_refuses_what_the_hook_would() -> None:
    """Without the hook, where namespaces can be had: no network, no file."""
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", KERNEL, str(Path(confined.__file__).parent)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=tempfile.gettempdir(),
    ).stdout.split()
    if said[0] != "1":
        pytest.skip("this kernel lets this user make no namespaces")
    assert said[1:] == ["EROFS", "ENETUNREACH"]


KERNEL = """
import errno, os, socket, sys
sys.path.insert(0, sys.argv[1])
import confined
confined._shut_in()
print(os.getpid())
for act in (lambda: open("x", "w"), lambda: socket.create_connection(("192.0.2.1", 80), 1)):
    try:
        act()
    except OSError as e:
        print(errno.errorcode[e.errno])
"""


def test_the_limits_hold_without_the_hook() -> None:
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", HELD, str(Path(confined.__file__).parent)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout.split()
    assert said[:2] == ["MemoryError", "refused"] and (os.getuid() == 0 or said[2] == "refused")


HELD = """
import os, sys
sys.path.insert(0, sys.argv[1])
import confined
confined._limit(5, 2**29, 8)
try:
    bytearray(10**10)
except MemoryError:
    print("MemoryError")
try:
    confined.resource.setrlimit(confined.resource.RLIMIT_NPROC, (1000, 1000)) if os.getuid() else None
    [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
except (OSError, ValueError):
    print("refused")
try:
    os.fork() or os._exit(0)
except OSError:
    print("refused")
"""


def test_nothing_is_run_where_there_are_no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(BenchError, match="doctests are not run"):
        passes(RIGHT, [CHECK])
