"""The log of probes: a line for each assignment that was measured, whole even after a power cut, each with its checksum."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import ValidationError

from bench.choose.jobs import Probed
from bench.core.checked import Tell, line_sum
from bench.core.files import complete_or_absent

_DIGITS = 64


def log_line(name: str, probed: Probed) -> str:
    """A line of the log of that name: a pair of checksum and measurement, as JSON."""
    data = probed.model_dump_json()
    return f'["{line_sum(name, data.encode())}",{data}]\n'


def read_log(path: Path) -> dict[str, Probed]:
    """The probes on a log by their keys, without lines that are damaged. A last line that was cut off is removed, so that the
    next begins a line."""
    return _read(path)[0]


def mended_log(path: Path, tell: Tell) -> dict[str, Probed]:
    """The same; lines that are damaged are told and removed, so that what they held is measured again."""
    found, damaged = _read(path)
    if damaged:
        tell(
            f"{path}: {damaged} of its measurements {'is' if damaged == 1 else 'are'} not as kept in the cache (damaged, or of another "
            f"version); what is needed of {'it' if damaged == 1 else 'them'} is measured again"
        )
        with complete_or_absent(path) as partial:
            partial.write_text("".join(log_line(path.name, p) for p in found.values()), encoding="utf-8")
    return found


def _read(path: Path) -> tuple[dict[str, Probed], int]:
    """The probes, and how many lines are damaged."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}, 0
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        os.truncate(path, len(whole))
    found, damaged = {}, 0
    for line in whole.split(b"\n")[:-1]:
        probed = _probed(path.name, line)
        if probed is None:
            damaged += 1
        else:
            found[probed.key] = probed
    return found, damaged


def _probed(name: str, line: bytes) -> Probed | None:
    start = len('["",') + _DIGITS
    data = line[start:-1]
    if line != b'["' + line_sum(name, data).encode() + b'",' + data + b"]":
        return None
    try:
        return Probed.model_validate(json.loads(data))
    except (ValueError, ValidationError):
        return None  # of another version of this program
