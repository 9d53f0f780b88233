"""Texts written side by side are those that are written one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.engine.context import Context
from bench.engine.greedy import greedy
from bench.engine.llama import Model
from bench.engine.writing import Prompt, goes_round, write


def told(_share: float) -> None:
    """Nobody."""


@pytest.fixture(scope="module")
def prompts(tiny: Path) -> list[Prompt]:
    with Model(tiny, vocab_only=True) as model:
        texts = ["the cat", "the cat sat", "the cat", "a dog that", "x"]
        return [
            Prompt(tuple(int(t) for t in model.tokenize(t)), limit=n)
            for t, n in zip(texts, [9, 3, 9, 12, 1], strict=True)
        ]


def test_each_is_what_greedy_generation_gives(tiny: Path, prompts: list[Prompt]) -> None:
    with Model(tiny) as model:
        found = write(model, prompts, threads=1, progress=told)
        for prompt, text in zip(prompts, found, strict=True):
            with Context(model, n_ctx=256, n_batch=256, n_ubatch=256, threads=1) as context:
                context.prepare(np.array(prompt.tokens, np.int32), len(prompt.tokens) - 1)
                context.decode()
                alone = list(greedy(context, prompt.limit))
            alone = next((alone[:n] for n in range(len(alone)) if goes_round(alone[:n])), alone)
            assert text.text == b"".join(map(model.piece, alone)).decode("utf-8", "replace")
            assert text.tokens == len(alone) and text.end in (
                "loop" if goes_round(alone) else "limit" if len(alone) == prompt.limit else "own",
                "limit",
            )


def test_a_text_ends_before_what_it_is_to_end_before(tiny: Path, prompts: list[Prompt]) -> None:
    with Model(tiny) as model:
        [whole] = write(model, [prompts[3]], threads=1, progress=told)
        ending = whole.text[len(whole.text) // 2 :][:2]
        [cut] = write(model, [Prompt(prompts[3].tokens, (ending, "\0never\0"), 12)], threads=1, progress=told)
    assert cut.text == whole.text.partition(ending)[0] and cut.end == "text" and cut.tokens <= whole.tokens


def test_a_prompt_may_have_ends_of_its_own(tiny: Path, prompts: list[Prompt]) -> None:
    with Model(tiny) as model:
        with Context(model, n_ctx=256, n_batch=256, n_ubatch=256, threads=1) as context:
            context.prepare(np.array(prompts[3].tokens, np.int32), len(prompts[3].tokens) - 1)
            context.decode()
            alone = list(greedy(context, 12))
        end = alone[-1]
        before = alone[: alone.index(end)]
        [found] = write(model, [Prompt(prompts[3].tokens, limit=12, ends=(end,))], threads=1, progress=told)
    assert (found.tokens, found.end) == (len(before), "own")


def test_chance_is_a_prompts_own(tiny: Path, prompts: list[Prompt]) -> None:
    def drawn(seeds: list[str]) -> list[str]:
        asked = [Prompt(prompts[0].tokens, (), 8, 1.0, seed) for seed in seeds]
        with Model(tiny) as model:
            return [t.text for t in write(model, asked, threads=1, progress=told)]

    one, other, again = drawn(["1/0", "1/1", "1/0"])
    assert one == again != other and drawn(["1/1"]) == [other]


def test_a_loop_is_four_rounds_of_the_same_and_32_tokens() -> None:
    assert goes_round([9, *[1, 2] * 16]) and goes_round([5] * 32) and goes_round(list(range(16)) * 4)
    assert goes_round([1, 2, 3] * 11)  # 33 tokens
    assert not goes_round([5] * 31) and not goes_round([1, 2] * 15) and not goes_round(list(range(17)) * 4)
    assert not goes_round(list(range(16)) * 3) and not goes_round([1, 0, 0, 0, 0, 0])
