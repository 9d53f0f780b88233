"""Files on disk: their hashes, and writing a file so that it is complete or absent."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

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
    partial = partial_name(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_left_behind(target.parent, target.name)
        yield partial
        with partial.open("rb+") as f:
            os.fsync(f.fileno())
        os.replace(partial, target)
        sync_directory(target.parent)
    except OSError as e:
        remedy = "free some space" if is_full(e) else "check its permissions"
        raise BenchError(
            f"{target}: cannot be written ({e.strerror or e}); {remedy} or choose another directory"
        ) from e
    finally:
        with suppress(OSError):  # gone already, or its directory never was one
            partial.unlink()


def unnamed_file() -> IO[bytes]:
    """A file of this process alone, without a name: nothing is left of it, however the process ends. Raises BenchError."""
    try:
        return tempfile.TemporaryFile()
    except OSError as e:
        raise cannot_hold(e) from e


def cannot_hold(e: OSError) -> BenchError:
    """What to tell where such a file cannot be made or written."""
    where = tempfile.tempdir or "the directory for temporary files"
    return BenchError(
        f"{where}: cannot be written ({e.strerror or e}); free some space there, or set TMPDIR to another"
    )


def is_full(e: OSError) -> bool:
    """Whether a disk or a quota is what cannot hold more."""
    return e.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def told(e: OSError) -> str:
    """An error of the system that nothing else has put into words, in one line with its remedy."""
    where = e.filename if isinstance(e.filename, str) else "a file"
    remedy = "free some space" if is_full(e) else "check that its directory is there and its permissions"
    return f"{where}: cannot be read or written ({e.strerror or e}); {remedy}, then run again"


@contextmanager
def folder_for_now(parent: Path, name: str) -> Iterator[Path]:
    """A folder of this process below `parent`, gone after the block. What killed processes left there of that name goes first.

    Raises BenchError when it cannot be made.
    """
    folder = partial_name(parent / name)
    try:
        remove_left_behind(parent, name)
        folder.mkdir(parents=True)
    except OSError as e:
        raise BenchError(f"{parent}: cannot be written ({e.strerror}); choose another directory with --cache") from e
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def partial_name(target: Path) -> Path:
    """Where this process makes what is to get a name: beside it, hidden, and with the tag of the process."""
    return target.with_name(f".{target.name}.{own_tag()}.partial")


def remove_left_behind(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes were making in a folder: of one name, or of any. What cannot be removed stays."""
    for left_behind in folder.glob(f".{'*' if name is None else glob.escape(name)}.*.partial"):
        tag = left_behind.suffixes[-2].removeprefix(".")
        if not _TAG.fullmatch(tag) or owner_of(tag, left_behind) is not None:
            continue
        if left_behind.is_dir() and not left_behind.is_symlink():
            shutil.rmtree(left_behind, ignore_errors=True)
        else:
            with suppress(OSError):
                left_behind.unlink()


#: What a process marks as its own: its number, and its machine where it is told (several machines may share a cache).
_TAG = re.compile(r"(\d+)(?:@([0-9a-f]{6}))?")
#: Seconds for which what another machine marked counts as its own: nobody here can tell whether that process is there.
_ELSEWHERE = 86400


def own_tag() -> str:
    """The tag of this process, in names of files: `1234@9f86d0`."""
    return f"{os.getpid()}@{_this_machine()}"


@cache
def _this_machine() -> str:
    return short_hash(platform.node())[:6]


def owner_of(tag: str, path: Path) -> int | None:
    """The number of the process that marked a file or folder with a tag, where it is still there: it has not ended, and is not a later one with
    that number than the one that last changed the file. None for no tag."""
    found = _TAG.fullmatch(tag)
    if found is None:
        return None
    pid = int(found[1])
    try:
        changed = path.lstat().st_ctime
        if found[2] not in (None, _this_machine()):
            return pid if time.time() - changed < _ELSEWHERE else None
        process = psutil.Process(pid)
        is_there = process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= changed + 1
    except (OSError, psutil.Error):
        return None
    return pid if is_there else None


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
