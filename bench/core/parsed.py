"""JSON and TOML from outside: parsed, or refused with a ValueError, whatever they contain."""

from __future__ import annotations

import json
import tomllib
from typing import Any


def json_value(text: str) -> Any:
    """What a text of JSON says. Raises ValueError for one that is none, is nested too deeply, or holds half a character (a lone
    surrogate), which cannot be written or tokenized."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as e:
        raise ValueError("it is nested too deeply") from e
    return value


def toml_table(text: str) -> dict[str, Any]:
    """What a text of TOML says. Raises ValueError for one that is none or is nested too deeply."""
    try:
        return tomllib.loads(text)
    except RecursionError as e:
        raise ValueError("it is nested too deeply") from e
