"""What judges have in common: the fields of an item, what a model says, and whether two values are the same.

An item is a line of a task's JSON lines. Fields that hold objects are texts of JSON there, since `datasets` 4.0, unlike 5.2, gives every
object the keys of all others, with null for those that it lacks; they may be objects as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bench.core.errors import BenchError
from bench.core.formats import in_one_line
from bench.core.parsed import json_value

#: A line of a task's file, by the names of its fields.
Item = Mapping[str, Any]
#: Characters of a message from a library, which may repeat a whole schema.
_MESSAGE = 200
_END_OF_THOUGHT = "</think>"


def wrong(item: Item, what: str) -> BenchError:
    """The error of an item that cannot be judged: one line that names it."""
    name = in_one_line(str(item.get("id", "without id")))[:_MESSAGE]
    return BenchError(f"item {name}: {in_one_line(what)[:_MESSAGE]}; correct it in the task's file")


def field(item: Item, name: str) -> Any:
    """What a field says: the value of its text of JSON, or what it holds. Raises BenchError where it is missing or no JSON."""
    if name not in item:
        raise wrong(item, f"has no field `{name}`")
    value = item[name]
    if not isinstance(value, str):
        return value
    try:
        return json_value(value)
    except ValueError as e:
        raise wrong(item, f"`{name}` is not JSON ({e})") from e


def said(answer: str) -> str:
    """What a model says, without what it thought before and without space around."""
    return answer.rpartition(_END_OF_THOUGHT)[2].strip()


def strict_json(text: str) -> Any:
    """What a text of JSON says. Raises ValueError for one that is none; NaN and Infinity, which Python reads, are none, nor is a number
    beyond the largest that a double can hold."""
    value = json_value(text)
    json.dumps(value, allow_nan=False)
    return value


def unfenced(text: str) -> str:
    """A text without the fence of Markdown (three backquotes, perhaps with `json`) that stands around all of it. Other texts as they are."""
    first, newline, rest = text.strip().partition("\n")
    if newline and first.rstrip().lower() in ("```", "```json") and rest.endswith("```"):
        return rest.removesuffix("```")
    return text


def same(a: Any, b: Any) -> bool:
    """Whether two values of JSON are the same, as a reader takes them: 30 is 30.0 but not true, and of texts neither capital letters nor
    the space around and between words count. The order of a list counts, that of keys does not."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, str) and isinstance(b, str):
        return " ".join(a.casefold().split()) == " ".join(b.casefold().split())
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)
