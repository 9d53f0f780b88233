"""`--score all`: every token of a window, as papers on quantization do it, against float64 arithmetic on the logits of one decode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.engine.context import Context
from bench.engine.llama import Model
from bench.engine.settings import PLAIN, Settings
from bench.engine.steps import longest_step, steps_of
from bench.measures.caches.options import Asked as Caches
from bench.measures.caches.runs import results
from bench.measures.registry import load_run
from bench.measures.windows.bits import bits_frame
from bench.measures.windows.positions import positions_frame
from bench.measures.windows.runs import windows_of
from bench.present.output import summarize
from bench.present.pages.repeat import command as repeat_command
from bench.records.run import Run
from bench.sweep.sweep import Sweep
from bench.texts.stream import TokenStream
from bench.workbench.options import Options
from bench.workbench.work import Work
from tests.conftest import Outcome
from tests.support.tiny import write_model

WINDOW = 64


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, text: Path, cache: Path) -> Options:
    """A model whose vocabulary asks for BOS, which half windows begin with."""
    model = write_model(tmp_path_factory.mktemp("model") / "bos.gguf")
    return Options(
        model=str(model), text=text, recipes=("Q4_0",), no_imatrix=True, window=WINDOW, windows=6, threads=1, cache=cache, no_speed=True,
        score="all", measures={"caches": Caches(types=("q8_0",))},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(options: Options, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("all")
    Sweep(replace(options, out=out), Reporter()).execute()
    return load_run(out)


def test_every_token_but_the_first_counts_and_none_is_replaced(options: Options, run: Run) -> None:
    work = Work(options, Reporter())
    stream = TokenStream.load(work.executor.site.path(work.stream(options.text).content))
    assert stream.bos is not None
    found = windows_of(run).results("F16")
    assert found is not None
    with (
        Model(Path(str(options.model))) as model,
        Context(model, n_ctx=WINDOW, n_batch=WINDOW, n_ubatch=WINDOW, threads=1) as context,
    ):
        for w, result in enumerate(found):
            tokens = stream.tokens[w * WINDOW : (w + 1) * WINDOW]
            context.clear()
            context.prepare(tokens, 0)
            context.decode()
            logits = context.logits()[:-1].astype(np.float64)
            largest = logits.max(axis=1)
            sums = np.log(np.exp(logits - largest[:, None]).sum(axis=1)) + largest
            nll = sums - logits[np.arange(WINDOW - 1), tokens[1:]]
            [scored] = result.by_kind.values()
            assert scored.tokens == WINDOW - 1 and scored.nll == pytest.approx(nll.sum(), rel=1e-6)


def test_it_is_said_wherever_the_windows_are(run: Run) -> None:
    assert run.identity.settings.scored == "all"
    text = summarize(run).markdown
    assert "6 windows of 64 tokens, all tokens scored" in text and "PPL: perplexity of the " not in text
    assert "--score all" in repeat_command(run)


def test_other_measures_follow(run: Run) -> None:
    cached, windows = results(run, "Q4_0", PLAIN), windows_of(run).results("Q4_0")
    assert cached is not None and windows is not None
    assert [sum(s.nll for s in c.by_kind.values()) for c in cached] == [
        sum(s.nll for s in w.by_kind.values()) for w in windows
    ]
    parts = positions_frame(run)
    assert parts["first"].iloc[0] == 1 and parts["last"].max() == WINDOW - 1


def test_bits_are_of_the_text(options: Options, run: Run) -> None:
    found = bits_frame(run).set_index("recipe").loc["F16"]
    windows = windows_of(run).results("F16")
    assert windows is not None
    nll = sum(s.nll for w in windows for s in w.by_kind.values())
    assert found["bits_per_byte"] == pytest.approx(nll / np.log(2) / found["n_bytes"])
    assert found["bits_per_word"] == pytest.approx(nll / np.log(2) / found["n_words"])
    # each token of this vocabulary spells a byte or a letter
    assert found["n_bytes"] >= 6 * (WINDOW - 1) and "## Bits per byte" in summarize(run).markdown


def test_an_ordinary_run_keeps_its_id(run: Run) -> None:
    half = run.identity.model_copy(update={"settings": run.identity.settings.model_copy(update={"scored": "half"})})
    assert half.id != run.identity.id
    assert half.differences(run.identity) == ["settings.scored is half in one and all in the other"]


def test_steps_of_all() -> None:
    settings = Settings(window=2048, ubatch=512, scored="all")
    assert [(s.first, s.last, s.scored) for s in steps_of(settings)] == [
        (0, 512, 0), (512, 1024, 512), (1024, 1536, 1024), (1536, 2048, 1536),
    ]  # fmt: skip
    assert longest_step(settings) == 512 and settings.logits == 2048


def test_what_is_neither_is_refused(bench: Callable[..., Outcome], options: Options, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="--score most: is not known; give half"):
        _ = Work(replace(options, score="most"), Reporter()).settings
    outcome = bench("ppl", options.model, "--text", options.text, "--window", WINDOW, "--score", "most", "--cache", tmp_path)  # fmt: skip
    assert outcome.code == 2 and "--score most: is not known" in outcome.err
    outcome = bench("ppl", options.model, "--text", options.text, "--window", WINDOW, "--score", "all", "--windows", 2, "--cache", tmp_path)  # fmt: skip
    assert outcome.code == 0 and "over 126 tokens" in outcome.out and "windows of 64, all tokens scored" in outcome.out
