"""The log of probes: a line for each assignment that was measured, whole even after a power cut."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from bench.choose.jobs import Probed


def read_log(path: Path) -> dict[str, Probed]:
    """The probes on a log by their keys. A last line that was cut off is removed, so that the next begins a line."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        os.truncate(path, len(whole))
    found = {}
    for line in whole.splitlines():
        try:
            probed = Probed.model_validate_json(line)
        except ValidationError:
            continue  # of another version of this program
        found[probed.key] = probed
    return found
