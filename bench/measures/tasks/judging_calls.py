"""Calls of tools in what a model writes, in the forms that chat templates teach.

    <tool_call>{"name": "f", "arguments": {…}}</tool_call>      Qwen, Hermes, SmolLM2; the object may be a list
    [TOOL_CALLS] [{"name": "f", "arguments": {…}}]              Mistral
    {"name": "f", "parameters": {…}}                            Llama 3, perhaps behind <|python_tag|>; a list too
    ```json … ```                                               any of these objects, in a fence

An object may be wrapped as OpenAI's API does, {"type": "function", "function": {…}}, and arguments may be a text of JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.measures.tasks.judging_items import said, strict_json, unfenced

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_MARKS = ("[TOOL_CALLS]", "<|python_tag|>")


@dataclass(frozen=True)
class Call:
    """A call of a tool. arguments: by their names."""

    name: str
    arguments: dict[str, Any]


def tool_calls(text: str) -> list[Call]:
    """The calls that a text holds, in order; none for any other text. What is no call between marks of calls is left out."""
    text = said(text)
    if _OPEN in text:
        pieces = [piece.partition(_CLOSE)[0] for piece in text.split(_OPEN)[1:]]
        return [call for piece in pieces for call in _read(piece)]
    for mark in _MARKS:
        if mark in text:
            return _read(text.partition(mark)[2])
    return _read(text)


def tries_to_call(text: str) -> bool:
    """Whether a text has a mark of a call or is one, well formed or not."""
    return any(mark in said(text) for mark in (_OPEN, *_MARKS)) or bool(tool_calls(text))


def _read(text: str) -> list[Call]:
    try:
        value = strict_json(unfenced(text))
    except ValueError:
        return []
    found = [_call(v) for v in (value if isinstance(value, list) else [value])]
    return [call for call in found if call is not None]


def _call(value: Any) -> Call | None:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"].strip():
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = strict_json(arguments)
        except ValueError:
            return None
    return Call(value["name"].strip(), arguments) if isinstance(arguments, dict) else None
