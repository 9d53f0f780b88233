"""Where tokens are in the text, in bytes of it."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest

from bench.engine.llama import Model
from bench.engine.tokenize import spans, tokenize
from bench.texts.prompts import EVALUATION, fixed_set
from bench.texts.stream import TokenStream
from tests.support.tiny import JOINED, Shape, write_model, write_text


@pytest.fixture(scope="module", params=[True, False], ids=["with BOS", "without"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(
        tmp_path_factory.mktemp("model") / "m.gguf", Shape(layers=1, add_bos=request.param), joined=JOINED
    )


def test_each_token_stands_for_its_bytes_of_the_text(model: Path, tmp_path: Path) -> None:
    source, out = write_text(tmp_path / "t.txt", 300), tmp_path / "t.npz"
    n = tokenize(model, source, out)
    lengths, text = spans(model, out, source, n), source.read_bytes()
    assert lengths is not None and sum(lengths) == len(text) and max(lengths) > 1
    with Model(model, vocab_only=True) as loaded:
        pieces = [loaded.piece(int(t)) for t in TokenStream.load(out).tokens]
    ends = list(accumulate(lengths))
    cut = [text[end - length : end] for length, end in zip(lengths, ends, strict=True)]
    spelled = [i for i, piece in enumerate(pieces) if piece]
    assert pieces[spelled[0]] == b" " + cut[spelled[0]], (
        "the vocabulary puts a space before the text, which is no part of it"
    )
    assert [pieces[i] for i in spelled[1:]] == [cut[i] for i in spelled[1:]]


def test_the_first_tokens_of_the_fixed_prompts(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.npz"
    tokenize(model, EVALUATION, out)
    lengths = spans(model, out, EVALUATION, 100)
    assert lengths is not None and len(lengths) == 100
    assert fixed_set(EVALUATION).text.encode()[: sum(lengths)].decode(errors="ignore")


def test_a_vocabulary_that_does_not_give_the_text_back(model: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "t.txt", tmp_path / "t.npz"
    source.write_text("a mark that stands for a space in this vocabulary: \u2581 and more")
    n = tokenize(model, source, out)
    assert spans(model, out, source, n) is None
    assert spans(model, out, source, 10) is not None, "up to there it does"
