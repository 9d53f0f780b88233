"""Traces: conversations that a model wrote itself, in a file of JSON lines.

The first line says which model wrote them and how. Then comes a line for each conversation: its messages, and the very tokens of it, with the
ranges of those that the model wrote. The last line has the number of conversations and the SHA-256 of all lines before it. So a file that was
cut off or edited is told from one that is as it was written.

A *passage* is a sequence of tokens from an empty context. A conversation is one passage, unless the model's chat template renders earlier turns
otherwise later on (most drop a model's reasoning from them): then an answer begins a passage of its own, as the model read it. For scoring, each
passage is a window, filled up behind its last token:

    passage    B u u u a a a e u u a a e          u: read, a: written, e: written, the end of an answer
    window     B u u u a a a e u u a a e . . .    .: fills it up; nothing in front of it can see that
    scored             s s s s     s s s          what the model wrote, each once, in the context that it was written in

Windows are the units of every interval, and so are conversations where each is one passage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.core.errors import BenchError
from bench.core.parsed import json_value
from bench.core.values import Amount, Count, Name, Some
from bench.texts.stream import TokenStream

#: Version of the format.
FORMAT = 1
#: What fills a window up: any token does, as nothing looks at it.
_FILLING = 0
#: No vocabulary has more tokens.
_MOST_TOKENS = 2**24

Token = Annotated[int, Field(ge=0, lt=_MOST_TOKENS)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Writer(_Part):
    """The model that wrote. tokens_sha256: of the texts that its tokens stand for; template_sha256: of its chat template."""

    name: Name
    sha256: Name
    tokens_sha256: Name
    template_sha256: Name


class Header(_Part):
    """How traces were made. turns: answers of a conversation at most, 0 for all that it asks for; tokens: of an answer at most; window: tokens of a
    passage at most; source, source_sha256: the conversations; engine: as it reports itself, since digits depend on it."""

    kind: Literal["traces"] = "traces"
    format: Some = FORMAT
    model: Writer
    seed: int
    temperature: Amount
    turns: Count
    tokens: Some
    window: Some
    source: Name
    source_sha256: Name
    engine: dict[str, str]


class Message(_Part):
    role: str
    content: str


class Answer(_Part):
    """tokens: that the model wrote; stop: why it wrote no more: it ended, reached the limit of an answer, or the passage was full."""

    tokens: Some
    stop: Literal["ended", "limit", "full"]


class Passage(_Part):
    """tokens: from an empty context; written: (first, behind the last) of those that the model wrote."""

    tokens: tuple[Token, ...]
    written: Annotated[tuple[tuple[Some, Some], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _ranges_fit(self) -> Self:
        ends = [n for both in self.written for n in both]
        if any(a >= b for a, b in self.written) or ends != sorted(ends) or ends[-1] > len(self.tokens):
            raise ValueError("what was written does not lie within its tokens")
        return self

    @property
    def n_written(self) -> int:
        return sum(b - a for a, b in self.written)


class Talk(_Part):
    """A conversation. group: its kind, in tables; messages: the model's own are those of the role `assistant`."""

    kind: Literal["conversation"] = "conversation"
    name: Name
    group: Name
    messages: tuple[Message, ...]
    passages: Annotated[tuple[Passage, ...], Field(min_length=1)]
    answers: Annotated[tuple[Answer, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if sum(a.tokens for a in self.answers) != sum(p.n_written for p in self.passages):
            raise ValueError("its answers are not of the tokens that were written")
        return self


class _End(_Part):
    kind: Literal["end"] = "end"
    conversations: Count
    sha256: Name


@dataclass(frozen=True)
class Traces:
    """A file of traces. sha256: of the whole file."""

    path: Path
    sha256: str
    header: Header
    talks: tuple[Talk, ...]

    @property
    def name(self) -> str:
        """As results name it; what stands before the bracket is the file's name."""
        h = self.header
        return f"{self.path.name} (written by {h.model.name}, seed {h.seed}, temperature {h.temperature:g})"

    @property
    def passages(self) -> list[tuple[Talk, Passage]]:
        return [(talk, passage) for talk in self.talks for passage in talk.passages]

    @property
    def longest(self) -> int:
        """Tokens of the longest passage."""
        return max(len(p.tokens) for _, p in self.passages)

    def stream(self, window: int) -> TokenStream:
        """The passages, each filled up to a window. Raises BenchError for a window that is too small."""
        if self.longest > window:
            talk = next(t for t, p in self.passages if len(p.tokens) == self.longest)
            raise BenchError(
                f"--window {window}: the conversation {talk.name} in {self.path} takes {self.longest:,} tokens; give --window "
                f"{-(-self.longest // 256) * 256}, or make traces with a smaller --window"
            )
        groups = tuple(dict.fromkeys(t.group for t in self.talks))
        n = len(self.passages)
        tokens = np.full((n, window), _FILLING, np.int32)
        written = np.zeros((n, window), np.bool_)
        kinds = np.empty((n, window), np.int64)
        for i, (talk, passage) in enumerate(self.passages):
            tokens[i, : len(passage.tokens)] = passage.tokens
            kinds[i] = groups.index(talk.group)
            for first, end in passage.written:
                written[i, first:end] = True
        return TokenStream(tokens.ravel(), kinds.ravel(), groups, None, written.ravel())


def traces_text(header: Header, talks: Sequence[Talk]) -> bytes:
    """A file of traces. Equal conversations give equal bytes: nothing of when and where they were written is in it."""
    lines = b"".join(f"{part.model_dump_json()}\n".encode() for part in (header, *talks))
    end = _End(conversations=len(talks), sha256=hashlib.sha256(lines).hexdigest())
    return lines + f"{end.model_dump_json()}\n".encode()


def is_traces(path: Path) -> bool:
    """Whether a file begins as traces do."""
    try:
        with path.open("rb") as f:
            return f.read(len(_BEGIN)) == _BEGIN
    except OSError:
        return False


_BEGIN = b'{"kind":"traces",'


def read_traces(path: Path) -> Traces:
    """Raises BenchError for what is no file of traces, and for one that is not as it was written."""
    if not path.is_file():
        raise BenchError(f"{path}: no such file of traces; check the path, or make it with `traces {path}`")
    try:
        data = path.read_bytes()
    except OSError as e:
        raise BenchError(f"{path}: cannot be read ({e.strerror}); check its permissions") from e
    header = _header(path, data.partition(b"\n")[0])
    lines, last = data[: data[:-1].rfind(b"\n") + 1], data[data[:-1].rfind(b"\n") + 1 :]
    end = _parsed(_End, last)
    if not data.endswith(b"\n") or not isinstance(end, _End):
        raise BenchError(
            f"{path}: is cut off, its last line is missing; restore it from a copy, or make it again with `traces --force`"
        )
    if hashlib.sha256(lines).hexdigest() != end.sha256:
        raise BenchError(
            f"{path}: is not as it was written (edited or damaged), so results would not compare; restore it from a copy, or make it again "
            "with `traces --force`"
        )
    talks: list[Talk] = []
    for number, line in enumerate(lines.split(b"\n")[1:-1], 2):
        talk = _parsed(Talk, line)
        if not isinstance(talk, Talk):
            raise BenchError(
                f"{path}:{number}: is no conversation of traces ({talk}); make the file again with `traces --force`"
            )
        talks.append(talk)
    if not talks or len(talks) != end.conversations:
        raise BenchError(
            f"{path}: holds {len(talks)} of {end.conversations} conversations; make it again with `traces --force`"
        )
    return Traces(path, hashlib.sha256(data).hexdigest(), header, tuple(talks))


def _header(path: Path, line: bytes) -> Header:
    said: object = None
    with suppress(ValueError):
        said = json_value(line.decode())
    if not isinstance(said, dict) or said.get("kind") != "traces":
        raise BenchError(
            f"{path}: is no file of traces, which another program may have written; make one with `traces OUT.jsonl`, or score a text with --text"
        )
    form = said.get("format")
    if isinstance(form, int) and form > FORMAT:
        raise BenchError(
            f"{path}: has format {form} of traces and this program reads up to {FORMAT}; update the program"
        )
    found = _parsed(Header, line)
    if not isinstance(found, Header):
        raise BenchError(f"{path}:1: is no header of traces ({found}); make the file again with `traces --force`")
    return found


def _parsed(kind: type[_Part], line: bytes) -> _Part | str:
    """A line as what it should be, or what is wrong with it."""
    try:
        return kind.model_validate_json(line)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part)[:40] for part in first["loc"][:6])
        return f"{where}: {first['msg'][:200]}" if where else first["msg"][:200]
