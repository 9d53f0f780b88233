"""Sequences of tokens that begin alike, scored together: what they share is computed once.

Sequences in the order of their tokens are a tree, in which each node is a token behind all that precedes it. llama.cpp computes a node for all
sequences that it belongs to, and each sees its own tokens only. So four endings of one sentence cost one sentence, and questions behind the
same examples cost the examples once. Where a model's memory is a state (Model.is_recurrent), sequences are computed one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.engine.context import Context
from bench.engine.llama import Model
from bench.engine.scoring import TokenScores, score

#: Tokens that are decoded at once.
STEP = 512
#: Sequences that may be in memory at once.
_AT_ONCE = 64
#: Tokens that a pack must share with the one before for them to stay in memory.
_WORTH_KEEPING = 32


@dataclass(frozen=True)
class Scored:
    """Tokens of which those from the index `first` on are scored, 1 at least."""

    tokens: tuple[int, ...]
    first: int


def packs(sequences: Sequence[Scored]) -> list[list[int]]:
    """Indices of sequences that are computed together, pack by pack: as many as fit into one step, in the order of their tokens.

    It depends on nothing but the sequences, so that every file and every machine computes the same packs.
    """
    order = sorted(range(len(sequences)), key=lambda i: (sequences[i].tokens, sequences[i].first))
    found: list[list[int]] = []
    filled, before = STEP, None
    for i in order:
        tokens = sequences[i].tokens[:-1]
        new = len(tokens) - (0 if before is None else shared_tokens(before, tokens))
        if filled + new > STEP or len(found[-1]) == _AT_ONCE:
            # what it shares with the pack before may stay in memory, so a pack is as large as what is new in it
            found.append([])
            filled = 0
        found[-1].append(i)
        filled, before = filled + new, tokens
    return found


class Tree:
    """A context for packs of sequences. Use as a context manager. longest: tokens of the longest sequence."""

    def __init__(self, model: Model, *, longest: int, threads: int) -> None:
        self._at_once = 1 if model.is_recurrent else _AT_ONCE
        n_ctx = longest + STEP
        self._context = Context(
            model, n_ctx=n_ctx, n_batch=STEP, n_ubatch=STEP, threads=threads, sequences=self._at_once
        )
        self._threads = threads
        self._held: tuple[int, ...] = ()

    def __enter__(self) -> Tree:
        self._context.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)

    def score(self, sequences: Sequence[Scored]) -> list[TokenScores]:
        """Scores of the scored tokens of each sequence of a pack. Raises MeasurementError where llama.cpp fails."""
        if self._at_once == 1 and len(sequences) > 1:
            return [self.score([one])[0] for one in sequences]
        nodes = Nodes(sequences)
        kept = self._keep(sequences)
        nll = [np.empty(len(s.tokens) - s.first) for s in sequences]
        correct = [np.empty(len(s.tokens) - s.first, np.bool_) for s in sequences]
        for step in nodes.steps(kept):
            self._context.place([nodes.token[i] for i in step], [nodes.position[i] for i in step],
                                [nodes.members[i] for i in step], [bool(nodes.wanted[i]) for i in step])  # fmt: skip
            self._context.decode()
            asked = [
                (row, s, n) for row, i in enumerate(j for j in step if nodes.wanted[j]) for s, n in nodes.wanted[i]
            ]
            if not asked:
                continue
            targets = np.array([sequences[s].tokens[sequences[s].first + n] for _, s, n in asked], np.int32)
            rows = np.array([row for row, _, _ in asked])
            found, _ = score(self._context.logits(), targets, threads=self._threads, rows=rows)
            for (_, s, n), value, is_top in zip(asked, found.nll, found.top_is_correct, strict=True):
                nll[s][n], correct[s][n] = value, is_top
        self._held = sequences[-1].tokens[:-1] if self._at_once > 1 else ()
        self._last = len(sequences) - 1
        return [TokenScores(*pair) for pair in zip(nll, correct, strict=True)]

    def _keep(self, sequences: Sequence[Scored]) -> int:
        """How many of the first tokens of all sequences are in memory, for all of them; nothing else is."""
        n = min(shared_tokens(self._held, s.tokens[: s.first - 1]) for s in sequences)
        if n < _WORTH_KEEPING or not self._context.share(self._last, n):
            self._context.clear()
            return 0
        return n


class Nodes:
    """The tree of some sequences, without the last token of each, which predicts nothing. In the order in which they are decoded, of each node:
    token; position; members: sequences that it belongs to; wanted: (sequence, which of its scored tokens) that its logits are for."""

    def __init__(self, sequences: Sequence[Scored]) -> None:
        self.token: list[int] = []
        self.position: list[int] = []
        self.members: list[list[int]] = []
        self.wanted: list[list[tuple[int, int]]] = []
        path: list[int] = []  # nodes of the sequence before
        before: tuple[int, ...] = ()
        for s, sequence in enumerate(sequences):
            tokens = sequence.tokens[:-1]
            path = path[: shared_tokens(before, tokens)]
            for i in path:
                self.members[i].append(s)
            for at in range(len(path), len(tokens)):
                path.append(len(self.token))
                self.token.append(tokens[at])
                self.position.append(at)
                self.members.append([s])
                self.wanted.append([])
            for n in range(len(sequence.tokens) - sequence.first):
                self.wanted[path[sequence.first - 1 + n]].append((s, n))
            before = tokens

    def steps(self, kept: int) -> Iterator[list[int]]:
        """Nodes that are decoded together, without those that are in memory."""
        left = [i for i in range(len(self.token)) if self.position[i] >= kept]
        for start in range(0, len(left), STEP):
            yield left[start : start + STEP]


def shared_tokens(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    n = min(len(a), len(b))
    differing = np.flatnonzero(np.asarray(a[:n]) != np.asarray(b[:n]))
    return int(differing[0]) if len(differing) else n
