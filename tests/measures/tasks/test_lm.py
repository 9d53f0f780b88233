"""As a model of lm-evaluation-harness: its own evaluation comes to what a run with tasks does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lm_eval")

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.engine.context import Context
from bench.engine.llama import Model
from bench.engine.scoring import score
from bench.measures.tasks.lm import DynamicGate
from bench.measures.tasks.options import Asked
from bench.measures.tasks.several import put_to_files
from bench.measures.tasks.sources import tasks_asked
from bench.workbench.options import Options
from tests.support.tasks import CHOICE, WRITING


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tasks whose data files are named in full, as the library wants them."""
    found = tmp_path_factory.mktemp("tasks")
    for name, text in {"choice": CHOICE, "writing": WRITING}.items():
        (found / f"{name}.yaml").write_text(text.replace(f"{name}.jsonl", str(found / f"{name}.jsonl")))
    words = ["tree", "river", "stone"]
    rows = [
        {"question": f"the {a} of", "choices": [a, b], "right": i % 2}
        for i, (a, b) in enumerate((a, b) for a in words for b in words if a != b)
    ]
    (found / "choice.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (found / "writing.jsonl").write_text(
        "".join(json.dumps({"question": f"{w} is", "answer": w}) + "\n" for w in words)
    )
    return found


class Asking:
    """A request as the library makes it."""

    def __init__(self, *args: object) -> None:
        self.args = args


@pytest.fixture(scope="module")
def model(tiny: Path, cache: Path) -> DynamicGate:
    return DynamicGate(pretrained=str(tiny), threads=1, cache=str(cache))


def test_the_librarys_command_line_has_the_figures_of_a_run(
    tiny: Path, cache: Path, directory: Path, tmp_path: Path
) -> None:
    asked = ["--model", "dynamicgate", "--model_args", f"pretrained={tiny},threads=1,cache={cache}", "--tasks", "tiny_choice,tiny_writing",
             "--include_path", str(directory), "--output_path", str(tmp_path)]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "bench.measures.tasks.lm", *asked], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    [written] = tmp_path.rglob("results_*.json")
    results = json.loads(written.read_text())["results"]
    puts, _ = put_to_files(
        Options(cache=cache, threads=1),
        Reporter(),
        [str(tiny)],
        tasks_asked(Asked(tasks=("tiny_choice", "tiny_writing"), task_path=directory)),
    )
    for put in puts:
        [own] = put.scores.values()
        assert results[put.task.name][f"{own.metric},none"] == pytest.approx(own.accuracy.value)


def test_a_whole_text_has_the_probability_of_all_its_tokens(model: DynamicGate, tiny: Path) -> None:
    text = "the cat sat on the mat and " * 40  # more tokens than the context holds
    [found] = model.loglikelihood_rolling([Asking(text)])
    with Model(tiny) as loaded:
        tokens = np.array([loaded.start_token(), *loaded.tokenize(text, start=False)], np.int32)
        total = 0.0
        with Context(loaded, n_ctx=512, n_batch=512, n_ubatch=512, threads=1) as context:
            predicted = 1
            while predicted < len(tokens):
                end = min(predicted + 512, len(tokens))
                begin = max(end - 513, 0)
                context.clear()
                context.prepare(tokens[begin : end - 1], predicted - begin - 1)
                context.decode()
                total -= score(context.logits(), tokens[predicted:end], threads=1)[0].nll.sum()
                predicted = end
    assert len(tokens) > 513 and found == pytest.approx(total, rel=1e-3)


def test_an_empty_text_is_certain(model: DynamicGate) -> None:
    [alone] = model.loglikelihood_rolling([Asking("the cat")])
    assert model.loglikelihood_rolling([Asking(""), Asking("the cat"), Asking("")]) == [0.0, alone, 0.0]
    assert model.loglikelihood_rolling([Asking("")]) == [0.0]


def test_answers_come_in_the_order_of_the_requests(model: DynamicGate) -> None:
    asked = [Asking("the cat", end) for end in (" sat", " on the mat", " sat on")]
    one, other, last = model.loglikelihood(asked)
    assert model.loglikelihood(asked[::-1]) == [last, other, one] and one[0] > last[0]
    [written] = model.generate_until([Asking("the cat", {"until": ["\0"], "max_gen_toks": 4})])
    assert isinstance(written, str)


def test_what_cannot_be_asked_is_one_line(model: DynamicGate) -> None:
    chat = model.apply_chat_template([{"role": "user", "content": "hello"}])
    with pytest.raises(BenchError, match="lm-eval: tiny has no chat template"):
        model.generate_until([Asking(chat, {})])
