"""Prompts that are problems rather than text: code with a gap to fill (`fim`), the same to go on with (`code`), and conversations (`chat`).

The fixed sets are files in prompts/fim (code, the gap's content between ⟪ and ⟫) and prompts/chat (TOML), listed in the
manifest. A user's own are JSON lines, each with `prefix`, `suffix` and `middle`, or with `messages`.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import BenchError
from bench.core.formats import in_one_line
from bench.core.parsed import json_lines
from bench.texts import prompts
from bench.texts.conversations import Conversation, conversation

FIM: Literal["fim"] = "fim"
CODE: Literal["code"] = "code"
CHAT: Literal["chat"] = "chat"
KINDS = (FIM, CODE, CHAT)
_OPEN, _CLOSE = "⟪", "⟫"
#: Characters of a group's name, which stands in tables.
_MAX_GROUP = 100


@dataclass(frozen=True)
class Infill:
    """Code with a gap. middle: what belongs between prefix and suffix; group: the programming language."""

    name: str
    group: str
    prefix: str
    middle: str
    suffix: str


@dataclass(frozen=True)
class ProblemSet:
    """Problems of one kind. name: of the set, in tables; sha256: of their content."""

    name: str
    kind: Literal["fim", "code", "chat"]
    sha256: str
    problems: tuple[Infill, ...] | tuple[Conversation, ...]


def problem_set(named: str) -> ProblemSet:
    """A fixed set by its kind, or a file of JSON lines by its path. Raises BenchError that names file and line."""
    if named in KINDS:
        files = FIM if named == CODE else named
        listed = prompts.listed_files(files)
        digest = prompts.identify(files)[1]
        if named == FIM:
            return ProblemSet(named, FIM, digest, tuple(_infill_file(path, kind) for path, kind in listed))
        if named == CODE:
            return ProblemSet(named, CODE, digest, tuple(_begun(_infill_file(path, kind)) for path, kind in listed))
        return ProblemSet(named, CHAT, digest, tuple(_conversation_file(path, kind) for path, kind in listed))
    path = Path(named)
    if not path.is_file():
        raise BenchError(f"--kinds {named}: is none of {', '.join(KINDS)} and no file of JSON lines; check the name")
    return _json_lines(path)


def _infill_file(path: Path, language: str) -> Infill:
    text = path.read_text(encoding="utf-8")
    prefix, opened, rest = text.partition(_OPEN)
    middle, closed, suffix = rest.partition(_CLOSE)
    if not (opened and closed and middle) or _OPEN in rest or _CLOSE in suffix:
        raise BenchError(f"{path}: must have one passage between {_OPEN} and {_CLOSE}; restore it with git checkout")
    return Infill(path.stem, language, prefix, middle, suffix)


def _begun(problem: Infill) -> Infill:
    """The same with the blanks before its gap in the gap: a token of a blank alone is not what text goes on from."""
    prefix = problem.prefix.rstrip(" \t")
    return Infill(problem.name, problem.group, prefix, problem.prefix[len(prefix) :] + problem.middle, problem.suffix)


def _conversation_file(path: Path, group: str) -> Conversation:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return conversation(path.stem, group, data.get("message"), str(path))


def _json_lines(path: Path) -> ProblemSet:
    found: list[Infill | Conversation] = [
        _from_json(data, f"{path.stem}-{number}", f"{path}:{number}")
        for number, data in json_lines(path, "one problem")
    ]
    if not found:
        raise BenchError(
            f"{path}: holds no problem; each line is one, with prefix, suffix and middle, or with messages"
        )
    kind = FIM if isinstance(found[0], Infill) else CHAT
    if any(type(p) is not type(found[0]) for p in found):
        raise BenchError(f"{path}: mixes infill problems and conversations; give them in two files")
    name, digest = "/".join(path.absolute().parts[-2:]), hashlib.sha256(path.read_bytes()).hexdigest()
    return ProblemSet(name, kind, digest, tuple(found))  # type: ignore[arg-type]


def _from_json(data: Any, name: str, where: str) -> Infill | Conversation:
    if isinstance(data, dict) and "messages" in data:
        return conversation(name, _group(data.get("group")), data["messages"], where)
    parts = [data.get(key) for key in ("prefix", "middle", "suffix")] if isinstance(data, dict) else [None]
    if not all(isinstance(p, str) for p in parts) or not parts[1]:
        raise BenchError(
            f"{where}: needs texts `prefix`, `suffix` and a `middle` that is not empty, or a list `messages`"
        )
    return Infill(name, _group(data.get("language", data.get("group"))), *parts)


def _group(told: object) -> str:
    """The group that a file tells, in words; one name for all that tell none."""
    return in_one_line(str(told or ""))[:_MAX_GROUP].strip() or "other"


@dataclass(frozen=True)
class Stop:
    """Where an editor ends a completion, beside the model's own end: see `cut`.

    next_line: what follows the gap, in its line for a gap within one, otherwise the first line after it. limit: tokens at
    most; lines: at most, for a gap of lines.
    """

    single_line: bool
    next_line: str
    limit: int
    lines: int

    @classmethod
    def of(cls, problem: Infill) -> Stop:
        single = "\n" not in problem.middle
        rest, _, after = problem.suffix.partition("\n")
        following = rest if single else next((line for line in after.split("\n") if line.strip()), "")
        # for gaps much longer than those of the fixed set, room for the gap and half as much again; a token has 2 bytes at least
        limit = max(_LINE_LIMIT if single else _BLOCK_LIMIT, 3 * len(problem.middle) // 4)
        lines = max(_BLOCK_LINES, 3 * (problem.middle.count("\n") + 1) // 2)
        return cls(single, following.strip() if single else following.rstrip(), limit, lines)

    def cut(self, completion: str) -> str | None:
        """The completion up to where it ends, None while it may go on.

        Within a line it ends at the line's end. A block ends where it begins to repeat the first line that follows, and after
        some lines in any case.
        """
        if self.single_line:
            line, newline, _ = completion.partition("\n")
            return line if newline else None
        lines = completion.split("\n")
        for i, line in enumerate(lines[:-1]):  # the last one is still being written
            if i and self.next_line and line.rstrip() == self.next_line:
                return "\n".join(lines[:i]).rstrip()
        return "\n".join(lines[: self.lines]) if len(lines) > self.lines else None

    def without_rest(self, completion: str, expected: str) -> str:
        """A completion of a gap within a line without what follows the gap there, if the model has written that too.

        A gap may itself end like that, so what is right as it stands is left.
        """
        shorter = completion.rstrip().removesuffix(self.next_line) if self.single_line else completion
        return completion if completion.strip() == expected.strip() else shorter


_LINE_LIMIT, _BLOCK_LIMIT, _BLOCK_LINES = 64, 192, 12
