"""Conversion of a text to tokens of a model's vocabulary and back, in a worker process."""

from __future__ import annotations

import codecs
from pathlib import Path

import numpy as np

from bench.core.files import complete_or_absent
from bench.engine.llama import Model
from bench.texts.chat import ChatTemplate
from bench.texts.conversations import read_conversations
from bench.texts.prompts import Part, PromptSet, fixed_set, from_file
from bench.texts.stream import TokenStream


def tokenize(path: Path, source: Path | Part, out: Path, template: str | None = None) -> int:
    """Write the token stream of a text file, or of a part of the prompt set, to `out`; returns its number of tokens.

    template: of the model's conversations, for a file of JSON lines that holds some; None for a text.
    """
    if template is not None and isinstance(source, Path):
        return _tokenize_conversations(path, source, out, template)
    prompts = _prompts(source)
    with Model(path, vocab_only=True) as model:
        tokens = model.tokenize(prompts.text)
        documents = np.zeros(len(tokens), np.int64)
        if len(prompts.documents) > 1:
            # Where a token's bytes end in the text tells which document it is of. Exact for byte-level vocabularies;
            # others may add a space at the start, which shifts nothing that matters.
            ends = np.cumsum([len(model.piece(int(t))) for t in tokens])
            documents = np.searchsorted([end for end, _ in prompts.kind_ends()], ends)
            documents = np.minimum(documents, len(prompts.documents) - 1)
        kind_of_document = np.array([prompts.kinds.index(d.kind) for d in prompts.documents])
        stream = TokenStream(tokens, kind_of_document[documents], prompts.kinds, model.bos)
    with complete_or_absent(out) as partial, partial.open("wb") as f:
        stream.save(f)
    return len(tokens)


def _prompts(source: Path | Part) -> PromptSet:
    return from_file(source) if isinstance(source, Path) else fixed_set(source)


def _tokenize_conversations(path: Path, source: Path, out: Path, template: str) -> int:
    """Each as the model reads it, with its special tokens, one behind the other."""
    with Model(path, vocab_only=True) as model:
        chat = ChatTemplate(template, model.special_texts())
        rendered = [without_bos(model, chat.render(c.messages)) for c in read_conversations(source)]
        tokens = np.concatenate([model.tokenize(text, special=True) for text in rendered])
        stream = TokenStream(tokens, np.zeros(len(tokens), np.int64), ("chat",), model.bos)
    with complete_or_absent(out) as partial, partial.open("wb") as f:
        stream.save(f)
    return len(tokens)


def without_bos(model: Model, text: str) -> str:
    """A rendered conversation without the token that starts a text, where tokenizing puts it there itself."""
    return text if model.bos is None else text.removeprefix(model.special_texts()["bos_token"])


def pieces(path: Path, stream: Path, first: int, count: int) -> tuple[str, ...]:
    """What tokens of a stream spell under a model's vocabulary; a character of several tokens stands in the last of them."""
    tokens = TokenStream.load(stream).tokens[first : first + count]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with Model(path, vocab_only=True) as model:
        return tuple(decoder.decode(model.piece(int(t))) for t in tokens)


def spans(path: Path, stream: Path, source: Path | Part, count: int) -> tuple[int, ...] | None:
    """Bytes of the text that each of the first `count` tokens of its stream stands for; None where joined they are not the text.

    A space that a vocabulary puts before the text is no part of it, and not counted.
    """
    text, tokens = _prompts(source).text.encode(), TokenStream.load(stream).tokens[:count]
    with Model(path, vocab_only=True) as model:
        spelled = {int(t): model.piece(int(t)) for t in np.unique(tokens)}
    joined = b"".join(spelled[int(t)] for t in tokens)
    lengths = [len(spelled[int(t)]) for t in tokens]
    if not text.startswith(joined):
        if not (joined.startswith(b" ") and text.startswith(joined[1:])):
            return None
        lengths[next(i for i, n in enumerate(lengths) if n)] -= 1
    return tuple(lengths)
