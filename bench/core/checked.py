"""Cached data with checksums: it is used unchanged, or it is made again and this is reported.

A small item is a JSON file that begins with the SHA-256 of the rest. A large one is a file with such a note beside it,
which holds its SHA-256. Checksums cover names too, so that one file cannot stand in for another.
They are not signatures: they find damage and mistakes, not malice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent, file_sha256

#: Told a sentence for the user.
Tell = Callable[[str], None]
Progress = Callable[[float], None]
Data = TypeVar("Data", bound=BaseModel)

_BEGIN, _MIDDLE, _END = b'{"sha256":"', b'",\n"data":', b"}\n"
_DIGITS = 64


class FileNote(BaseModel):
    """Of a file that is kept: the SHA-256 of its bytes. Subclasses add what else is to be known of it."""

    model_config = ConfigDict(frozen=True)

    sha256: str


Note = TypeVar("Note", bound=FileNote)


def line_sum(name: str, data: bytes) -> str:
    """Checksum of what is kept under a name."""
    return hashlib.sha256(name.encode() + b"\0" + data).hexdigest()


def write_checked(path: Path, value: BaseModel) -> None:
    """Keep a value. Raises BenchError where it cannot be written."""
    data = json.dumps(value.model_dump(mode="json")).encode()  # not model_dump_json, which has no infinity
    with complete_or_absent(path) as partial:
        partial.write_bytes(_BEGIN + line_sum(path.name, data).encode() + _MIDDLE + data + _END)


def read_checked(path: Path, kind: type[Data], tell: Tell) -> Data | None:
    """A value as it was kept; None where nothing is kept. One that is damaged is told, and None too."""
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise BenchError(f"{path}: cannot be read ({e.strerror}); correct its permissions, or remove it") from e
    start = len(_BEGIN) + _DIGITS
    data = raw[start + len(_MIDDLE) : -len(_END)]
    if raw == _BEGIN + line_sum(path.name, data).encode() + _MIDDLE + data + _END:
        try:
            return kind.model_validate_json(data)
        except ValidationError:
            pass  # by another version of this program
    tell_damage(path, tell)
    return None


def note_of(path: Path) -> Path:
    """Where the note of a file that is kept lies."""
    return path.with_suffix(".json")


def keep_file(path: Path) -> FileNote:
    """Note the checksum of a file that was just made."""
    note = FileNote(sha256=file_sha256(path))
    write_checked(note_of(path), note)
    return note


def kept_file(path: Path, kind: type[Note], tell: Tell, progress: Progress = lambda share: None) -> Note | None:
    """The note of a file that is there as it was kept: all of it is read, at the speed of hashing. None where it is not there or
    was never finished; one that is damaged is told, and None too."""
    if path.is_symlink() or not path.is_file():
        return None
    note = read_checked(note_of(path), kind, tell)
    if note is not None and file_sha256(path, progress) != note.sha256:
        tell_damage(path, tell)
        return None
    return note


def made_file(path: Path, make: Callable[[], object], tell: Tell) -> str:
    """Have a file that is kept, made now unless it is there as it was kept. Returns the SHA-256 of its bytes."""
    note = kept_file(path, FileNote, tell)
    if note is None:
        make()
        note = keep_file(path)
    return note.sha256


def tell_damage(path: Path, tell: Tell) -> None:
    tell(f"{path}: is not as it was kept in the cache (damaged, or of another version); it is made again")
