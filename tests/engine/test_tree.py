"""Sequences that begin alike, scored together, have the scores that each has alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.engine.context import Context
from bench.engine.llama import Model
from bench.engine.scoring import score
from bench.engine.tree import STEP, Scored, Tree, packs


def alone(model: Model, sequence: Scored) -> np.ndarray:
    tokens = np.array(sequence.tokens, np.int32)
    with Context(model, n_ctx=1024, n_batch=1024, n_ubatch=512, threads=1) as context:
        context.prepare(tokens[:-1], sequence.first - 1)
        context.decode()
        return score(context.logits(), tokens[sequence.first :], threads=1)[0].nll


@pytest.fixture(scope="module")
def sequences(tiny: Path) -> list[Scored]:
    """Two questions of four answers each behind one long beginning, an answer that another begins with, and a text longer than a step."""
    rng = np.random.default_rng(3)
    with Model(tiny, vocab_only=True) as model:
        n = model.n_vocab

    def some(count: int) -> tuple[int, ...]:
        return tuple(int(t) for t in rng.integers(3, n, count))

    shots, found = some(90), []
    for question in (some(20), some(31)):
        context = shots + question
        ends = [some(1), some(5), some(9)]
        found += [Scored(context + e, len(context)) for e in [*ends, ends[1] + some(3)]]
    return [*found, Scored(some(STEP + 40), 1), Scored(some(3), 2)]


def test_scores_are_those_of_each_sequence_alone(tiny: Path, sequences: list[Scored]) -> None:
    found: dict[int, np.ndarray] = {}
    with Model(tiny) as model:
        with Tree(model, longest=max(len(s.tokens) for s in sequences), threads=1) as tree:
            for pack in packs(sequences):
                scores = tree.score([sequences[i] for i in pack])
                found |= {i: s.nll for i, s in zip(pack, scores, strict=True)}
        for i, sequence in enumerate(sequences):
            np.testing.assert_allclose(found[i], alone(model, sequence), atol=2e-2, err_msg=str(i))


def test_what_a_pack_shares_with_the_one_before_is_not_computed_again(
    tiny: Path, sequences: list[Scored], monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[int] = []
    place = Context.place

    def counted(self: Context, tokens: list[int], *more: object) -> None:
        placed.append(len(tokens))
        place(self, tokens, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Context, "place", counted)
    with Model(tiny) as model, Tree(model, longest=200, threads=1) as tree:
        first, second = (sorted(of, key=lambda s: s.tokens) for of in (sequences[:4], sequences[4:8]))
        tree.score(first)
        scores = tree.score(second)
        again = [alone(model, s) for s in second]
    # 90 tokens that all share stay where they are; the last token of an answer predicts nothing
    assert placed == [90 + 20 + 4 + 8 + 3, 31 + 4 + 8 + 3]
    for one, other in zip(scores, again, strict=True):
        np.testing.assert_allclose(one.nll, other, atol=2e-2)


def test_packs_depend_on_the_sequences_alone() -> None:
    sequences = [Scored((1, 2, 3 + i % 7, i), 2) for i in range(600)]
    found = packs(sequences)
    assert sorted(i for pack in found for i in pack) == list(range(600))
    assert [[sequences[i] for i in pack] for pack in found] == [
        [sequences[::-1][i] for i in pack] for pack in packs(sequences[::-1])
    ]
    assert max(map(len, found)) <= 64
