"""JSON and TOML from outside: parsed, or refused with a ValueError, whatever they contain."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError


def json_value(text: str) -> Any:
    """What a text of JSON says. Raises ValueError for one that is none, is nested too deeply, or holds half a character (a lone
    surrogate), which cannot be written or tokenized."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as e:
        raise ValueError("it is nested too deeply") from e
    return value


def json_lines(path: Path, each: str) -> Iterator[tuple[int, Any]]:
    """What the lines of a file of JSON say that are not blank, with their numbers from 1. each: what a line holds, for the message. Raises
    BenchError that names the line of what is no JSON.

    A line ends with a line feed: other characters at which `str.splitlines` ends one (U+2028, U+0085) may stand in a JSON string as they are.
    """
    for number, line in enumerate(path.read_bytes().decode("utf-8-sig", "replace").split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, json_value(line)
        except ValueError as e:
            raise BenchError(f"{path}:{number}: is not JSON ({e}); each line holds {each}") from e


def toml_table(text: str) -> dict[str, Any]:
    """What a text of TOML says. Raises ValueError for one that is none or is nested too deeply."""
    try:
        return tomllib.loads(text)
    except RecursionError as e:
        raise ValueError("it is nested too deeply") from e
