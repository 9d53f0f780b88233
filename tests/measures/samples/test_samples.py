"""Completions side by side: where they part from the reference's, and that they are the model's likeliest tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.engine.context import Context
from bench.engine.llama import Model
from bench.measures.registry import load_run
from bench.measures.samples.jobs import Completion
from bench.measures.samples.stage import sample_prompts
from bench.measures.samples.tables import agreeing, first_difference, one_line
from bench.measures.sections import Section, Table
from bench.measures.windows.runs import windows_of
from bench.present.markdown import section_text
from tests.conftest import Outcome


@pytest.mark.parametrize(
    ("other", "until", "share"),
    [
        ((1, 2, 3, 4), None, 1.0),
        ((1, 2, 9, 4), 2, 0.75),
        ((9, 2), 0, 0.25),
        ((1, 2), 2, 0.5),
        ((1, 2, 3, 4, 5), 4, 1.0),
        ((), 0, 0.0),
    ],
)
def test_where_completions_part(other: tuple[int, ...], until: int | None, share: float) -> None:
    assert first_difference((1, 2, 3, 4), other) == until
    assert agreeing((1, 2, 3, 4), other) == share


def test_nothing_agrees_with_nothing() -> None:
    assert agreeing((), (1,)) is None and first_difference((), ()) is None


def test_a_completion_in_markdown_and_as_it_is() -> None:
    found = Completion(tokens=(1,), text="a | `b`\n*c*", ended=True)
    assert one_line(found) == "a | `b`⏎*c* ∎"
    frame = pd.DataFrame({"Recipe": ["F16"], "Completion": [one_line(found)]})
    section = Section("Samples", "samples", (Table("t", "Completions", frame, text="Completion"),), folded=True)
    assert "a \\| \\`b\\`⏎\\*c\\* ∎" in section_text(section), "Markdown takes nothing for its own"


def test_default_prompts_are_of_every_kind() -> None:
    found = sample_prompts(())
    assert len(found) == len({name for name, _ in found}) == 8
    assert all(200 < len(text) <= 320 for _, text in found)


def test_side_by_side(bench: Callable[..., Outcome], tiny: Path, text: Path, tmp_path: Path) -> None:
    arguments = ["sample", "--model", tiny, "--recipes", "Q8_0,Q2_K", "--no-imatrix", "--prompt", "the old", "--prompt", "a",
                 "--tokens", 5, "--text", text, "--window", 64, "--windows", 1, "--cache", tmp_path / "cache"]  # fmt: skip
    done = bench(*arguments, "--out", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    by_recipe = {r["recipe"]: r["completions"] for r in json.loads(done.out)}
    assert by_recipe.keys() == {"F16", "Q8_0", "Q2_K"}
    with Model(tiny) as model, Context(model, n_ctx=256, n_batch=256, n_ubatch=256, threads=1) as context:
        tokens, written = model.tokenize("the old"), []
        for _ in range(5):  # all over again for every token
            context.clear()
            context.prepare(tokens, len(tokens) - 1)
            context.decode()
            token = int(context.logits()[-1].argmax())
            if model.is_end(token):
                break
            written.append(token)
            tokens = np.append(tokens, np.int32(token))
    assert by_recipe["F16"][0]["tokens"] == written
    run = load_run(tmp_path / "run")
    assert not windows_of(run).results("Q8_0")  # sampling measures nothing
    assert "## Samples" in (tmp_path / "run" / "tables" / "tables.md").read_text()
    again = bench(*arguments, "--out", tmp_path / "run")
    assert again.code == 0 and "> the old" in again.out and "| Q2_K" in again.out
    assert len(load_run(tmp_path / "run").records) == len(run.records)
