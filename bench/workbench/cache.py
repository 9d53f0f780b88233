"""The cache as a user sees it: its entries, their sizes and last use, and their removal.

Only folders that this program makes are looked at, whatever else lies in the directory, and no folder that holds the records
of a run is ever removed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench.core.errors import BenchError, nearest
from bench.core.files import remove_left_behind
from bench.records.run import FILE_NAME
from bench.workbench.scratch import SCRATCH, owner


@dataclass(frozen=True)
class Kind:
    """What a folder of the cache holds. apart: each of its entries is a folder, which goes as a whole; kept: it stays unless it is
    named, since it takes long to make again."""

    name: str
    about: str
    apart: bool = False
    kept: bool = False


KINDS = (
    Kind("engine", "the engine, which takes minutes to compile", apart=True, kept=True),
    Kind("models", "models that were widened, joined, converted or unpacked"),
    Kind("quantized", "files of recipes"),
    Kind("blocks", "quantized tensors, which files of recipes are made of", apart=True),
    Kind("imatrix", "importance matrices"),
    Kind("sensitivity", "what types do to tensors, and choices made by it"),
    Kind("tokens", "texts as tokens"),
    Kind("traces", "conversations that models wrote"),
    Kind("texts", "texts of datasets"),
    Kind("index", "hashes of models"),
    Kind("pace", "how fast this machine reads and multiplies weights"),
    Kind("converter", "the converter of checkpoints with its environment", apart=True),
    Kind(SCRATCH, "what runs that were killed left behind", apart=True),
)
_BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True)
class Entry:
    """Something that is kept and goes as a whole. n_bytes: on disk; used: when it was last read or written, as far as the file
    system tells."""

    kind: str
    path: Path
    n_bytes: int
    used: datetime


def kinds_named(names: Collection[str]) -> tuple[Kind, ...]:
    """The kinds of names. Raises BenchError for one that there is not."""
    for name in names:
        if name not in _BY_NAME:
            raise BenchError(
                f"{name}: nothing of this kind is kept{nearest(name, _BY_NAME)}; there are {', '.join(_BY_NAME)}"
            )
    return tuple(kind for kind in KINDS if kind.name in names)


def entries(cache: Path, kinds: Sequence[Kind] = KINDS) -> list[Entry]:
    """What is in the cache, kind by kind, the last used first. Folders with records of runs are left out."""
    found = []
    for kind in kinds:
        folder = cache / kind.name
        paths = [p for p in _children(folder) if not p.name.startswith(".")]
        if not kind.apart:
            paths = [p for p in paths if p.is_dir() or not _is_note(p, paths)]
        own = [_entry(kind.name, p) for p in paths if not _is_in_use(p, kind) and not _holds_records(p)]
        found += sorted(own, key=lambda e: e.used, reverse=True)
    return found


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_note(path: Path, paths: Collection[Path]) -> bool:
    """Whether a file says how the file beside it was made, and so belongs to that."""
    return path.suffix == ".json" and any(path.with_suffix(s) in paths for s in (".gguf", ".npz", ".txt"))


def _parts(path: Path) -> list[Path]:
    """The files of an entry: those below a folder, or a file with the note beside it."""
    if path.is_dir() and not path.is_symlink():
        return [p for p in path.rglob("*") if p.is_symlink() or p.is_file()]
    note = path.with_suffix(".json")
    return [path, note] if note != path and note.is_file() else [path]


def _entry(kind: str, path: Path) -> Entry:
    n_bytes, used = 0, 0.0
    for part in _parts(path):
        with suppress(OSError):  # removed by another process meanwhile
            stat = part.lstat()
            n_bytes, used = n_bytes + stat.st_size, max(used, stat.st_atime, stat.st_mtime)
    return Entry(kind, path, n_bytes, datetime.fromtimestamp(used, UTC))


def _holds_records(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and any(path.rglob(FILE_NAME))


def remove_unfinished(cache: Path) -> None:
    """Remove what killed processes were making in the cache."""
    for kind in KINDS:
        folder = cache / kind.name
        for made_in in (folder, *(_children(folder) if kind.apart else ())):
            remove_left_behind(made_in)


def _is_in_use(path: Path, kind: Kind) -> bool:
    return kind.name == SCRATCH and owner(path) is not None


def check_unused(cache: Path) -> None:
    """Raise BenchError while a run works with the cache."""
    owners = [pid for p in _children(cache / SCRATCH) if (pid := owner(p)) is not None]
    if owners:
        elsewhere = "" if psutil.pid_exists(owners[0]) else " on another machine"
        raise BenchError(
            f"process {owners[0]}{elsewhere} works with {cache}; let it end, or end it, before the cache is cleared"
        )


_AGE = re.compile(r"^(\d+) *([hdw]?)$")
_SECONDS = {"h": 3600, "": 86400, "d": 86400, "w": 7 * 86400}
#: What no cache is older than, in seconds; a date before the year 1 cannot be told.
_OLDEST = 100 * 365 * 86400


def age_in_seconds(text: str) -> int:
    """Seconds of `12h`, `30d`, `2w`; a bare number is days. Raises BenchError for anything else, and for
    more than a hundred years."""
    found = _AGE.match(text.strip().lower())
    if found is None:
        raise BenchError(f"--older-than {text}: is no age; give hours, days or weeks, for instance 12h, 30d or 2w")
    seconds = int(found[1]) * _SECONDS[found[2]]
    if seconds > _OLDEST:
        raise BenchError(f"--older-than {text}: is more than a hundred years; give a shorter age, for instance 30d")
    return seconds


def remove(found: Sequence[Entry]) -> int:
    """Throw entries out. Returns the bytes that this frees; what cannot be removed raises OSError."""
    for entry in found:
        if entry.path.is_dir() and not entry.path.is_symlink():
            shutil.rmtree(entry.path)
        else:
            for part in _parts(entry.path):
                part.unlink(missing_ok=True)
    return sum(e.n_bytes for e in found)
