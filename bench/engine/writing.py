"""Several texts written side by side, token by token: one decode gives the next token of each, which takes little longer than that of one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.engine.context import Context
from bench.engine.llama import Model
from bench.engine.sampling import draw
from bench.engine.tree import STEP, Nodes, Scored

End = Literal["own", "text", "limit", "loop"]
#: A text of the likeliest tokens goes round for ever, or nearly so, that ends with four rounds or more of at most 16 tokens, of 32 tokens together: long
#: numbers and rows of tables are no loops.
_ROUNDS, _LONGEST_ROUND, _LOOP = 4, 16, 32


@dataclass(frozen=True)
class Prompt:
    """What a text goes on from. endings: texts that it ends before; limit: tokens at most; temperature: 0 for the likeliest; seed: of chance, its own for each prompt;
    ends: tokens that are an end of the model's own here, beside those that are so anywhere."""

    tokens: tuple[int, ...]
    endings: tuple[str, ...] = ()
    limit: int = 256
    temperature: float = 0.0
    seed: str = ""
    ends: tuple[int, ...] = ()


@dataclass(frozen=True)
class Text:
    """What was written, how many tokens that took, and how it ended: by the model's own end, before one of the endings, at the limit, or where it
    went round in a loop."""

    text: str
    tokens: int
    end: End


@dataclass
class _Growing:
    """A text on its way. sequence: its number in the context; past: tokens that the context holds of it."""

    prompt: Prompt
    sequence: int
    past: int
    chance: Callable[[], float]
    written: bytes = b""
    tokens: list[int] = field(default_factory=list)
    ended: Text | None = field(default=None)

    def take(self, model: Model, logits: NDArray[np.float32]) -> int | None:
        """The next token; None where the text has ended."""
        token = draw(logits, self.prompt.temperature, self.chance() if self.prompt.temperature else 0.0)
        if model.is_end(token) or token in self.prompt.ends:
            self._end("own")
            return None
        self.written += model.piece(token)
        self.tokens.append(token)
        text = self._text
        if any(e in text for e in self.prompt.endings):
            self._end("text")
        elif len(self.tokens) >= self.prompt.limit:
            self._end("limit")
        elif not self.prompt.temperature and goes_round(self.tokens):
            self._end("loop")
        return None if self.ended else token

    @property
    def _text(self) -> str:
        return self.written.decode("utf-8", "replace")

    def _end(self, how: End) -> None:
        text = self._text
        for ending in self.prompt.endings if how == "text" else ():
            text = text.partition(ending)[0]
        self.ended = Text(text, len(self.tokens), how)


def goes_round(tokens: Sequence[int]) -> bool:
    """Whether tokens end with rounds that are the same."""
    for n in range(1, _LONGEST_ROUND + 1):
        stretch = max(_ROUNDS * n, -(-_LOOP // n) * n)
        if len(tokens) >= stretch and all(tokens[-i] == tokens[-i - n] for i in range(1, stretch - n + 1)):
            return True
    return False


def room(prompts: Sequence[Prompt]) -> int:
    """Tokens that a context needs for them."""
    return sum(len(p.tokens) + p.limit for p in prompts)


def write(model: Model, prompts: Sequence[Prompt], *, threads: int, progress: Callable[[float], None]) -> list[Text]:
    """What a model writes behind each prompt. Raises MeasurementError where llama.cpp fails, or logits are no numbers."""
    limit, longest = room(prompts), max(p.limit for p in prompts)
    texts = [_Growing(p, n, len(p.tokens), random.Random(p.seed).random) for n, p in enumerate(prompts)]
    with Context(
        model, n_ctx=limit, n_batch=STEP, n_ubatch=STEP, threads=threads, sequences=max(len(prompts), 2)
    ) as context:
        going = _read(context, texts, shared=not model.is_recurrent)
        steps = 1
        while going:
            context.place(
                [token for _, token in going],
                [t.past for t, _ in going],
                [[t.sequence] for t, _ in going],
                [True] * len(going),
            )
            context.decode()
            rows = context.logits()
            for t, _ in going:
                t.past += 1
            taken = [(t, t.take(model, row)) for (t, _), row in zip(going, rows, strict=True)]
            going = [(t, token) for t, token in taken if token is not None]
            steps += 1
            progress(min(steps / longest, 1.0))
    found = [t.ended for t in texts if t.ended is not None]
    assert len(found) == len(texts)
    return found


def _read(context: Context, texts: Sequence[_Growing], *, shared: bool) -> list[tuple[_Growing, int]]:
    """Decode the prompts, each once where some begin alike; texts that go on, with the token that comes first."""
    going: list[tuple[_Growing, int]] = []
    for group in [texts] if shared else [[t] for t in texts]:
        # the last token of a sequence predicts nothing in a tree: here one is added that is never computed
        order = sorted(group, key=lambda t: t.prompt.tokens)
        nodes = Nodes([Scored((*t.prompt.tokens, 0), len(t.prompt.tokens)) for t in order])
        for step in nodes.steps(0):
            context.place(
                [nodes.token[i] for i in step],
                [nodes.position[i] for i in step],
                [[order[s].sequence for s in nodes.members[i]] for i in step],
                [bool(nodes.wanted[i]) for i in step],
            )
            context.decode()
            if wanted := [i for i in step if nodes.wanted[i]]:
                for row, i in zip(context.logits(), wanted, strict=True):
                    for s, _ in nodes.wanted[i]:
                        token = order[s].take(context.model, row)
                        if token is not None:
                            going.append((order[s], token))
    return sorted(going, key=lambda pair: pair[0].sequence)
