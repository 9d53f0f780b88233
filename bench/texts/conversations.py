"""Conversations as files hold them: TOML of the prompt set, and JSON lines of a user's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.parsed import json_lines, json_value

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Conversation:
    """messages: (role, content) in order; the model's are those of the role `assistant`."""

    name: str
    group: str
    messages: tuple[tuple[str, str], ...]


def conversation(name: str, group: str, messages: Any, where: str) -> Conversation:
    """A conversation out of what a file holds. Raises BenchError, with where it stands, for messages that are none."""
    if not isinstance(messages, list) or not messages:
        raise BenchError(f"{where}: has no messages; each has a `role` and a `content`")
    for message in messages:
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if role not in ROLES or not isinstance(content, str):
            raise BenchError(f"{where}: a message needs a `role` ({', '.join(ROLES)}) and a `content` that is text")
    return Conversation(name, group, tuple((m["role"], m["content"]) for m in messages))


def holds_conversations(path: Path) -> bool:
    """Whether a file is JSON lines of conversations, by its first line; its name does not matter."""
    with path.open("rb") as file:
        first = file.readline(_LONGEST_LINE)
    text = first.decode("utf-8-sig", "replace")
    if not text.lstrip().startswith("{"):
        return False
    try:
        data = json_value(text)
    except ValueError:
        return False
    return isinstance(data, dict) and "messages" in data


def read_conversations(path: Path) -> list[Conversation]:
    """All of a file of JSON lines, each with `messages`. Raises BenchError that names the line of what is none."""
    found = []
    for number, data in json_lines(path, "one conversation"):
        messages = data.get("messages") if isinstance(data, dict) else None
        found.append(conversation(f"{path.stem}-{number}", "", messages, f"{path}:{number}"))
    return found


#: Bytes of a line that are looked at; the first line of a text may be all of it.
_LONGEST_LINE = 10_000_000
