"""Requests in tokens: vocabularies that add an end, answers whose beginning is given, texts of nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.engine.llama import Model
from bench.measures.tasks.jobs import (
    Chat,
    Continuation,
    EncodedBatch,
    EncodedSequence,
    EncodedWriting,
    EncodeJob,
    EncodeResult,
    Message,
    Request,
    Requests,
    Whole,
    Writing,
)
from tests.support.held import Held
from tests.support.tiny import Shape, write_model

TEMPLATE = (
    "{% for m in messages %}<|s|>{{ m.role }}: {{ m.content }}<|e|>{% endfor %}"
    "{% if add_generation_prompt %}<|s|>assistant: {% endif %}"
)
MARKS = ("<|s|>", "<|e|>")


def encode(
    model: Path, requests: list[Request], out: Path, template: str | None = None
) -> tuple[list[EncodedSequence], list[EncodedWriting], EncodeResult]:
    asked = out.with_suffix(".requests")
    asked.write_text(Requests(requests=tuple(requests)).model_dump_json())
    held = Held(out.parent)
    result = held.do(EncodeJob(model=held(model), requests=held(asked), template=template, context=256, out=held(out)))
    batches = [EncodedBatch.model_validate_json(line) for line in out.read_text().splitlines()]
    sequences = [s for b in batches for pack in b.packs for s in pack]
    return sorted(sequences, key=lambda s: s.request), [w for b in batches for w in b.writings], result


def test_an_end_that_the_vocabulary_adds_is_in_no_text(tmp_path: Path) -> None:
    """Nothing may follow a token that ends a text: neither an answer nor what is written."""
    asked: list[Request] = [
        Continuation(context="the tide", text=" is old"), Continuation(context="", text="stone"), Whole(text="a river"),
        Writing(context="the stone", limit=4),
    ]  # fmt: skip
    found = []
    for adds in (False, True):
        model = write_model(tmp_path / f"adds-{adds}.gguf", Shape(layers=1, add_eos=adds))
        with Model(model, vocab_only=True) as loaded:
            assert loaded.added_end() == (2 if adds else None) and bool(loaded.tokenize("a")[-1] == 2) is adds
        found.append(encode(model, asked, tmp_path / f"{adds}.jsonl")[:2])
    assert found[0] == found[1]
    assert not any(2 in one.tokens for one in (*found[1][0], *found[1][1]))


def test_an_answer_whose_beginning_is_given_is_gone_on_with(tmp_path: Path) -> None:
    """As tasks with `gen_prefix` ask: the template would end the answer's turn."""
    model = write_model(tmp_path / "m.gguf", Shape(layers=1), control=MARKS)
    question = Message(role="user", content="a word?")
    begun = Chat(messages=(question, Message(role="assistant", content="It is ")), generation=False).model_dump_json()
    asked: list[Request] = [
        Writing(context=begun, limit=4, chat=True),
        Continuation(context=begun, text="stone", chat=True),
    ]
    [sequence], [writing], _ = encode(model, asked, tmp_path / "out.jsonl", TEMPLATE)
    with Model(model, vocab_only=True) as loaded:
        text = "<|s|>user: a word?<|e|><|s|>assistant: It is "
        prompt = [int(t) for t in loaded.tokenize(text, special=True)]
        whole = [int(t) for t in loaded.tokenize(text + "stone", special=True)]
    assert list(writing.tokens) == prompt
    assert list(sequence.tokens) == whole and sequence.first == len(prompt)


def test_a_text_of_nothing_is_a_failure_of_its_own(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", Shape(layers=1))
    sequences, _, result = encode(model, [Whole(text=""), Whole(text="a")], tmp_path / "out.jsonl")
    assert [s.request for s in sequences] == [1] and "empty" in result.failed[0]
    with pytest.raises(BenchError, match="its text is empty"):
        encode(model, [Whole(text="")], tmp_path / "other.jsonl")
