"""Files of traces: as they were written, or refused in a line that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from bench.core.errors import BenchError
from bench.texts.traces import (
    Answer,
    Header,
    Message,
    Passage,
    Talk,
    Traces,
    Writer,
    is_traces,
    read_traces,
    traces_text,
)

HEADER = Header(
    model=Writer(name="tiny", sha256="0", tokens_sha256="1", template_sha256="2"),
    seed=1, temperature=1.0, turns=0, tokens=9, window=8, source="own", source_sha256="3", engine={"isa": "AVX2"},
)  # fmt: skip


def talk(name: str, group: str, *passages: tuple[list[int], list[tuple[int, int]]]) -> Talk:
    made = tuple(Passage(tokens=tuple(tokens), written=tuple(written)) for tokens, written in passages)
    return Talk(
        name=name,
        group=group,
        messages=(Message(role="user", content="?"), Message(role="assistant", content="!")),
        passages=made,
        answers=tuple(Answer(tokens=b - a, stop="ended") for p in made for a, b in p.written),
    )


TALKS = [
    talk("one", "chat", ([1, 10, 11, 12, 13, 14], [(2, 4), (5, 6)])),
    talk("two", "code", ([1, 20, 21], [(1, 3)]), ([1, 30, 31, 32, 33, 34, 35], [(6, 7)])),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "own.jsonl"
    found.write_bytes(traces_text(HEADER, TALKS))
    return found


def test_what_was_written_is_read(path: Path) -> None:
    found = read_traces(path)
    assert found.header == HEADER and list(found.talks) == TALKS and is_traces(path)
    assert found.name == "own.jsonl (written by tiny, seed 1, temperature 1)"
    assert (len(found.passages), found.longest) == (3, 7)


def test_a_passage_is_a_window_of_which_what_was_written_is_scored(path: Path) -> None:
    stream = read_traces(path).stream(8)
    assert len(stream.tokens) == 24 and stream.bos is None
    assert stream.window(0, 8).tolist()[:6] == [1, 10, 11, 12, 13, 14]
    assert [stream.tokens[stream.scored(w, 8, 0)].tolist() for w in range(3)] == [[11, 12, 14], [20, 21], [35]]
    assert [stream.kind_names[k] for k in stream.kinds[::8]] == ["chat", "code", "code"]
    assert [stream.used(w, 8) for w in range(3)] == [6, 3, 7]


def test_what_is_scored_belongs_to_what_a_stream_is(path: Path, tmp_path: Path) -> None:
    stream = read_traces(path).stream(8)
    stream.save(tmp_path / "s.npz")
    again = type(stream).load(tmp_path / "s.npz")
    assert again.written is not None and np.array_equal(again.written, stream.written)  # type: ignore[arg-type]
    assert again.sha256 == stream.sha256 != type(stream)(stream.tokens, stream.kinds, stream.kind_names, None).sha256


def test_a_window_that_is_too_small_is_told_with_one_that_is_not(path: Path) -> None:
    with pytest.raises(
        BenchError, match=r"--window 6: the conversation two in .*own\.jsonl takes 7 tokens; give --window 256"
    ):
        read_traces(path).stream(6)


def lines(edit: Callable[[list[str]], list[str]]) -> Callable[[bytes], bytes]:
    return lambda data: "".join(edit(data.decode().splitlines(keepends=True))).encode()


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda data: b"{}\n", r"is no file of traces.*make one with `traces OUT\.jsonl`"),
        (lambda data: b'{"messages": []}\n', "is no file of traces"),
        (lambda data: b"", "is no file of traces"),
        (lambda data: b"\xff\xfe" + data, "is no file of traces"),
        (lambda data: b"[" * 100_000, "is no file of traces"),
        (lambda data: data.replace(b'"format":1', b'"format":2'), "has format 2 of traces and this program reads up to 1; update"),
        (lambda data: data.replace(b'"seed":1', b'"seed":"x"'), ":1: is no header of traces .seed"),
        (lambda data: data[:-1], "is cut off, its last line is missing"),
        (lambda data: data[: len(data) // 2], "is cut off"),
        (lines(lambda found: found[:-1]), "is cut off"),
        (lines(lambda found: found[:1]), "is cut off"),
        (lambda data: data.replace(b"[1,20,21]", b"[1,20,22]"), "is not as it was written"),
        (lines(lambda found: [found[0], found[2], found[1], found[3]]), "is not as it was written"),
        (lambda data: data.replace(b'"!"', b'"?"'), "is not as it was written"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_as_it_was_written_is_refused(edit: Callable[[bytes], bytes], said: str, path: Path) -> None:
    path.write_bytes(edit(path.read_bytes()))
    with pytest.raises(BenchError, match=said) as raised:
        read_traces(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_that_says_itself_that_it_is_right(path: Path) -> None:
    """Another program may write sums that agree."""
    data = traces_text(HEADER, [TALKS[0].model_copy(update={"group": ""})])
    path.write_bytes(data)
    with pytest.raises(BenchError, match=r"own\.jsonl:2: is no conversation of traces .group"):
        read_traces(path)
    path.write_bytes(traces_text(HEADER, []))
    with pytest.raises(BenchError, match="holds 0 of 0 conversations"):
        read_traces(path)


@pytest.mark.parametrize("written", [[(0, 2)], [(2, 2)], [(1, 4)], [(1, 3), (2, 3)], [(2, 3), (1, 2)], []])
def test_what_was_written_lies_within_its_tokens(written: list[tuple[int, int]]) -> None:
    with pytest.raises(ValidationError):
        Passage(tokens=(1, 2, 3), written=tuple(written))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(
        BenchError, match=r"none\.jsonl: no such file of traces; check the path, or make it with `traces"
    ):
        read_traces(tmp_path / "none.jsonl")
    assert not is_traces(tmp_path / "none.jsonl")


def test_equal_conversations_give_equal_bytes() -> None:
    assert traces_text(HEADER, TALKS) == traces_text(
        HEADER, [Talk.model_validate_json(t.model_dump_json()) for t in TALKS]
    )
    assert json.loads(traces_text(HEADER, TALKS).splitlines()[-1])["conversations"] == 2


def test_names_are_those_of_the_file(path: Path) -> None:
    found: Traces = read_traces(path)
    assert found.path == path and len(found.sha256) == 64
