"""Files on disk: their hashes, and writing one so that it is complete or not there at all."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bench.core.errors import BenchError


def file_sha256(path: Path, progress: Callable[[float], None] = lambda share: None) -> str:
    """Hash of a file's contents. progress is called with the share that is done."""
    digest, size, done = hashlib.sha256(), path.stat().st_size, 0
    with path.open("rb") as f:
        while block := f.read(2**26):
            digest.update(block)
            done += len(block)
            progress(done / size)
    return digest.hexdigest()


@contextmanager
def complete_or_absent(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that takes its name when the block ends well and is removed otherwise.

    Raises BenchError when the directory cannot be written or the disk is full.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left_behind in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
            pid = left_behind.suffixes[-2].removeprefix(".")
            if not (pid.isdigit() and psutil.pid_exists(int(pid))):  # its writer was killed
                left_behind.unlink(missing_ok=True)
        yield partial
        with partial.open("rb+") as f:
            os.fsync(f.fileno())
        os.replace(partial, target)
        sync_directory(target.parent)
    except OSError as e:
        remedy = (
            "free some space or choose another directory"
            if e.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
            else "check its permissions or choose another directory"
        )
        raise BenchError(f"{target}: cannot be written ({e.strerror or e}); {remedy}") from e
    finally:
        with suppress(OSError):  # gone already, or its directory never was one
            partial.unlink()


def sync_directory(directory: Path) -> None:
    """Put the names of a directory's files on disk, which a power cut may take back otherwise. Raises OSError."""
    if os.name != "posix":  # nothing else can open a directory
        return
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def short_hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def told_apart(paths: Sequence[Path]) -> list[str]:
    """Names of files, and paths where several have one name."""
    names = [path.name for path in paths]
    return [str(path) if names.count(path.name) > 1 else path.name for path in paths]


def cache_directory(override: Path | None) -> Path:
    """Where models, quantized files and importance matrices are kept: the override, or a folder of XDG_CACHE_HOME."""
    return (
        override or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynamicgate-bench"
    ).absolute()
