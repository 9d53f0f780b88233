"""Types of values that come from outside, with their limits. They are validated when they are read, and trusted afterwards."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from bench.core.formats import in_one_line

#: Nothing that is counted here comes near, and a double holds it exactly.
_MOST = 2**53
#: Seconds, squares, bytes for each second: beyond this a figure is none.
_LARGE = 1e15


def _in_one_line(text: str) -> str:
    return in_one_line(text) or "?"


def _is_time(text: str) -> str:
    """ISO 8601 with a zone: times of records are compared with each other."""
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("has no time zone")
    return text


def _is_base64(text: str) -> str:
    if not text or len(text) % 4:  # which the check of the library lets pass
        raise ValueError("is no base64 (its length is wrong)")
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error as e:
        raise ValueError(f"is no base64 ({e})") from e
    return text


#: A number of things: tokens, windows, bytes.
Count = Annotated[int, Field(ge=0, le=_MOST)]
#: The same of at least one thing.
Some = Annotated[int, Field(ge=1, le=_MOST)]
#: A finite number.
Number = Annotated[float, Field(ge=-_LARGE, le=_LARGE, allow_inf_nan=False)]
#: Zero or above, finite.
Amount = Annotated[float, Field(ge=0, le=_LARGE, allow_inf_nan=False)]
#: Above zero: divided by.
Seconds = Annotated[float, Field(gt=0, le=_LARGE, allow_inf_nan=False)]
#: A name that is shown, and used as a key: in one line, with nothing that steers a terminal.
Name = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_in_one_line)]
#: Sentences on something, which may be none.
Words = Annotated[str, AfterValidator(in_one_line)]
#: UTC time of a record.
Time = Annotated[str, Field(max_length=40), AfterValidator(_is_time)]
#: An array as base64.
Packed = Annotated[str, AfterValidator(_is_base64)]
