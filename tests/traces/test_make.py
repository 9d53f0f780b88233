"""Traces of a tiny model: written by chance and yet the same again, and scored on what was written alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import bench as library
from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.engine.context import Context
from bench.engine.llama import Model
from bench.engine.settings import PLAIN
from bench.measures.caches.options import Asked as Caches
from bench.measures.caches.runs import results as cache_results
from bench.measures.propagation.options import Asked as Propagation
from bench.measures.registry import load_run
from bench.measures.windows.frames import tokens as token_frame
from bench.measures.windows.positions import positions_frame
from bench.measures.windows.runs import windows_of
from bench.measures.windows.statistics import perplexity
from bench.present.output import write_outputs
from bench.present.pages.repeat import command
from bench.records.run import Run
from bench.sweep.sweep import Sweep
from bench.texts.traces import Passage, Traces, read_traces
from bench.traces.make import Asked, make_traces
from bench.workbench.options import Options
from bench.workbench.work import Work
from tests.conftest import Outcome
from tests.support.tiny import Shape, vocabulary, write_model

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
#: As templates of models that reason have it: only the last answer keeps all of its text.
FORGETTING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and not loop.last %}(said){% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROL = ("<|im_start|>", "<|im_end|>")
WINDOW = 256


def said(*messages: str, group: str = "chat") -> dict[str, object]:
    """A conversation; users and the assistant speak in turn."""
    roles = ("user", "assistant")
    return {"group": group, "messages": [{"role": roles[i % 2], "content": m} for i, m in enumerate(messages)]}


CONVERSATIONS = [
    said("one stone", "no", "and a tide?", "yes"),
    said("the old river said", "no", group="code"),
    {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a, under?"}]},
    *(said(f"stone {i}", "no", group="code" if i % 2 else "chat") for i in range(5)),
]


def model_of(path: Path, template: str = CHATML, seed: int = 1) -> Path:
    # a mark of what is to come makes this vocabulary add a blank, which is not at issue here
    extra = {"tokenizer.chat_template": template}
    return write_model(path, Shape(layers=2, seed=seed), control=CONTROL, extra=extra)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_of(tmp_path_factory.mktemp("model") / "talker.gguf")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, CONVERSATIONS)))
    return path


@pytest.fixture(scope="module")
def options(model: Path, cache: Path) -> Options:
    return Options(
        model=str(model), recipes=("Q4_0",), no_imatrix=True, window=WINDOW, threads=1, cache=cache, no_speed=True
    )


@pytest.fixture(scope="module")
def asked(own: Path) -> Asked:
    """Hot, so that a model of random weights ends some of its answers itself."""
    return Asked(seed=3, tokens=48, temperature=3.0, conversations=own)


@pytest.fixture(scope="module")
def traces(options: Options, asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Traces:
    return make_traces(Work(options, Reporter()), tmp_path_factory.mktemp("traces") / "own.jsonl", asked)


@pytest.fixture(scope="module")
def run(options: Options, traces: Traces, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("run")
    measures = {"caches": Caches(types=("q8_0",)), "propagation": Propagation(propagation=True)}
    Sweep(replace(options, traces=traces.path, out=out, measures=measures), Reporter()).execute()
    return load_run(out)


def spelled(tokens: tuple[int, ...] | list[int]) -> str:
    """Tokens of the tiny vocabulary as text, control tokens spelled out."""
    names = vocabulary(*CONTROL)[0]
    raw = b"".join(
        bytes([int(n[3:5], 16)]) if n.startswith("<0x") else n.replace("▁", " ").encode()
        for n in (names[t] for t in tokens)
    )
    return raw.decode("utf-8", "replace")


def log_p(model: Path, tokens: tuple[int, ...], behind: int = 0) -> NDArray[np.float64]:
    """Logarithms of probabilities after each token of a passage, by one decode in a context of its own. behind: tokens of our own that follow, so that the
    engine takes the same kernels for as many tokens."""
    n = len(tokens) + behind
    rest = np.random.default_rng(0).integers(3, 270, behind)
    with Model(model) as m, Context(m, n_ctx=n, n_batch=n, n_ubatch=n, threads=1) as context:
        context.prepare(np.array([*tokens, *rest], np.int32), 0)
        context.decode()
        logits = context.logits().astype(np.float64)[: len(tokens)]
    found: NDArray[np.float64] = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
    return found - logits.max(1, keepdims=True)


def targets(passage: Passage) -> list[int]:
    return [i for a, b in passage.written for i in range(a, b)]


# --- what is written ----------------------------------------------------------------------------------------------------


def test_the_same_seed_writes_the_same_file(options: Options, asked: Asked, traces: Traces, tmp_path: Path) -> None:
    """With another cache, so that nothing is taken over, and with other threads."""
    options = replace(options, cache=tmp_path / "cache")
    again = make_traces(Work(replace(options, threads=2), Reporter()), tmp_path / "own.jsonl", asked)
    assert again.path.read_bytes() == traces.path.read_bytes() and again.sha256 == traces.sha256
    other = make_traces(Work(options, Reporter()), tmp_path / "other.jsonl", replace(asked, seed=4))
    assert [t.passages for t in other.talks] != [t.passages for t in traces.talks]
    assert [t.name for t in other.talks] == [t.name for t in traces.talks]


def test_answers_stand_in_the_template_and_are_what_is_marked(traces: Traces) -> None:
    talk = traces.talks[0]
    assert [m.role for m in talk.messages] == ["user", "assistant", "user", "assistant"]
    first, second = talk.messages[1].content, talk.messages[3].content
    assert first != "no" and second != "yes"
    [passage] = talk.passages
    (a, b), (c, d) = passage.written
    begun = spelled(passage.tokens[:a]).replace("<|im_start|> ", "<|im_start|>").replace("<|im_end|> ", "<|im_end|>")
    assert begun == "<s><|im_start|>user\none stone<|im_end|>\n<|im_start|>assistant\n"
    assert spelled(passage.tokens[a:b]) in (first, first + "<|im_end|>", first + "</s>")
    assert "user\nand a tide?<|im_end|>" in spelled(passage.tokens[b:c])
    assert spelled(passage.tokens[c:d]).startswith(second) and d == len(passage.tokens)


def test_a_system_message_stays_and_a_last_question_is_answered(traces: Traces) -> None:
    assert [m.role for m in traces.talks[2].messages] == ["system", "user", "assistant"]


def test_why_an_answer_stopped(model: Path, traces: Traces) -> None:
    with Model(model, vocab_only=True) as m:
        for talk in traces.talks:
            written = [p.tokens[a:b] for p in talk.passages for a, b in p.written]
            for answer, tokens in zip(talk.answers, written, strict=True):
                assert (answer.stop == "ended") == m.is_end(tokens[-1])
                assert answer.tokens == len(tokens) <= 48 and not any(m.is_end(t) for t in tokens[:-1])
    assert {a.stop for t in traces.talks for a in t.answers} == {"ended", "limit"}


def test_the_likeliest_tokens_at_temperature_zero(options: Options, asked: Asked, model: Path, tmp_path: Path) -> None:
    found = make_traces(
        Work(options, Reporter()), tmp_path / "cold.jsonl", replace(asked, temperature=0.0, turns=1, tokens=8)
    )
    for talk in found.talks:
        [passage] = talk.passages
        best = log_p(model, passage.tokens).argmax(1)
        assert len(passage.written) == 1
        assert [passage.tokens[i] for i in targets(passage)] == [int(best[i - 1]) for i in targets(passage)]


def test_a_full_window_ends_a_conversation(options: Options, asked: Asked, tmp_path: Path) -> None:
    small = replace(options, window=64)
    found = make_traces(Work(small, Reporter()), tmp_path / "small.jsonl", replace(asked, temperature=0.0, tokens=1000))
    assert found.longest == 64 and any(t.answers[-1].stop == "full" for t in found.talks)
    with pytest.raises(BenchError, match="its first question leaves no room for an answer; give a larger --window"):
        make_traces(Work(replace(options, window=16), Reporter()), tmp_path / "none.jsonl", asked)


def test_turns_limit_answers(options: Options, asked: Asked, traces: Traces, tmp_path: Path) -> None:
    found = make_traces(Work(options, Reporter()), tmp_path / "one.jsonl", replace(asked, turns=1))
    assert {len(t.answers) for t in found.talks} == {1} and len(traces.talks[0].answers) == 2
    assert (
        found.talks[0].passages[0].tokens
        == traces.talks[0].passages[0].tokens[: found.longest][: len(found.talks[0].passages[0].tokens)]
    )


def test_a_template_that_drops_earlier_answers_begins_a_passage_for_each(
    options: Options, asked: Asked, tmp_path: Path
) -> None:
    """What was written is written in the context that the model had, in which its first answer is a mark by now."""
    model = model_of(tmp_path / "forgets.gguf", FORGETTING)
    found = make_traces(Work(replace(options, model=str(model)), Reporter()), tmp_path / "f.jsonl", asked)
    talk = found.talks[0]
    assert len(talk.passages) == 2 and len(talk.answers) == 2 and len(found.passages) == len(CONVERSATIONS) + 1
    assert "(said)<|im_end|>" in spelled(talk.passages[1].tokens) and "(said)" not in spelled(talk.passages[0].tokens)
    assert [len(p.written) for p in talk.passages] == [1, 1]
    assert sum(a.tokens for a in talk.answers) == sum(len(targets(p)) for p in talk.passages)


def test_what_is_finished_is_not_written_again(options: Options, asked: Asked, traces: Traces, tmp_path: Path) -> None:
    """An interrupted command has some of its conversations in the cache; a damaged one is told and written again."""
    cache = tmp_path / "cache"
    shutil.copytree(options.cache / "traces", cache / "traces")
    kept = {p: p.stat().st_mtime_ns for p in (cache / "traces").glob("*.json")}
    of_own = [p for p in kept if '"name": "own-2"' in p.read_text()]
    for path in of_own:
        path.write_text(path.read_text()[:-20])
    warned: list[str] = []

    class Told(Reporter):
        def warn(self, text: str) -> None:
            warned.append(text)

    again = make_traces(Work(replace(options, cache=cache), Told()), tmp_path / "own.jsonl", asked)
    assert again.path.read_bytes() == traces.path.read_bytes()
    assert len(warned) == 1 and "is not as it was kept in the cache" in warned[0]
    changed = [p for p, time in kept.items() if p.stat().st_mtime_ns != time]
    assert len(changed) >= 1 and set(changed) <= set(of_own)


# --- what is scored -----------------------------------------------------------------------------------------------------


def test_only_what_was_written_is_scored(run: Run, traces: Traces, model: Path) -> None:
    """Against arithmetic in float64 on each passage decoded by itself: with other tokens behind it, and without any, where kernels for fewer tokens
    round otherwise."""
    found = windows_of(run).results("F16")
    assert found is not None and len(found) == len(traces.passages) == run.windows
    for window, (talk, passage) in zip(found, traces.passages, strict=True):
        at = targets(passage)
        nll, alone = (
            -sum(values[i - 1, passage.tokens[i]] for i in at)
            for values in (log_p(model, passage.tokens, WINDOW - len(passage.tokens)), log_p(model, passage.tokens))
        )
        assert window.by_kind.keys() == {talk.group}
        assert window.by_kind[talk.group].tokens == len(at)
        assert window.by_kind[talk.group].nll == pytest.approx(nll, rel=1e-6) and nll == pytest.approx(alone, rel=2e-3)
    assert sum(s.tokens for w in found for s in w.by_kind.values()) == sum(
        a.tokens for t in traces.talks for a in t.answers
    )


def test_divergence_is_that_of_the_same_tokens(
    run: Run, traces: Traces, model: Path, options: Options, tmp_path: Path
) -> None:
    from bench.choose.on_request import quantize_to

    quantize_to(Work(options, Reporter()), tmp_path / "q.gguf", force=False)
    found = token_frame(run, "Q4_0").set_index("window")
    for index, (_, passage) in enumerate(traces.passages):
        behind = WINDOW - len(passage.tokens)
        mine, theirs = (log_p(path, passage.tokens, behind) for path in (model, tmp_path / "q.gguf"))
        kl = (np.exp(mine) * (mine - theirs)).sum(1)
        expected = [kl[i - 1] for i in targets(passage)]
        assert found.loc[index, "kl"].to_numpy() == pytest.approx(np.array(expected), rel=1e-4, abs=1e-6)


def test_timed_windows_score_the_same(run: Run, options: Options, traces: Traces, tmp_path: Path) -> None:
    """Those decode what fills them up, too."""
    Sweep(
        replace(options, traces=traces.path, windows=2, no_speed=False, generate=2, out=tmp_path), Reporter()
    ).execute()
    timed, untimed = windows_of(load_run(tmp_path)).results("Q4_0"), windows_of(run).results("Q4_0")
    assert timed is not None and untimed is not None and timed[0].is_timed
    assert [w.tokens for w in timed] == [w.tokens for w in untimed[:2]]


def test_a_run_says_what_it_scored(run: Run, traces: Traces) -> None:
    identity = run.identity
    assert identity.prompts.sha256 == traces.sha256 and identity.settings.scored == "written"
    assert identity.prompts.name.startswith("own.jsonl (written by talker, seed 3")
    again = command(run)
    assert "--traces own.jsonl" in again and "--score" not in again and "--text" not in again
    assert run.directory is not None
    write_outputs(run, run.directory)
    page = (run.directory / "tables" / "tables.md").read_text(encoding="utf-8")
    assert "the model's own tokens scored" in page and "own.jsonl" in page
    frame = positions_frame(run)  # of which there are none: what was written stands elsewhere in each window
    assert isinstance(frame, pd.DataFrame) and frame.empty


def test_other_measures_of_a_window(run: Run, traces: Traces) -> None:
    """A cache in f16 scores what windows score; hidden states are those of each passage, which has no more tokens."""
    plain, reference = cache_results(run, "F16", PLAIN), windows_of(run).results("F16")
    assert plain is not None and reference is not None and len(plain) == len(reference) == len(traces.passages)
    for result, window in zip(plain, reference, strict=True):
        assert result.by_position == ()
        for kind, sums in window.by_kind.items():
            assert (result.by_kind[kind].tokens, result.by_kind[kind].nll) == (sums.tokens, pytest.approx(sums.nll))
    assert run.directory is not None
    errors = library.load_run(run.directory).propagation
    assert len(errors) == run.windows * 2 and (errors["residual"] > 0).all()


def test_perplexity_of_one_file(
    bench: Callable[..., Outcome], run: Run, traces: Traces, model: Path, cache: Path
) -> None:
    done = bench("ppl", model, "--traces", traces.path, "--window", WINDOW, "--cache", cache, "--threads", 1, "--json")
    assert done.code == 0, done.err
    found = windows_of(run).results("F16")
    assert found is not None and json.loads(done.out)["ppl"] == pytest.approx(perplexity(found).ppl.value)
    assert json.loads(done.out)["windows"] == len(traces.passages)


def test_the_library(model: Path, own: Path, cache: Path, tmp_path: Path, traces: Traces) -> None:
    out = tmp_path / "own.jsonl"
    made = library.make_traces(out, model=model, conversations=own, seed=3, tokens=48, temperature=3.0, window=WINDOW, threads=1,
                               cache=cache, quiet=True)  # fmt: skip
    assert out.read_bytes() == traces.path.read_bytes() and made.attrs["sha256"] == traces.sha256
    assert made.index.names == ["conversation", "turn"] and made["tokens"].sum() == sum(
        a.tokens for t in traces.talks for a in t.answers
    )
    score = library.score(model, traces=out, window=WINDOW, threads=1, cache=cache, quiet=True)
    assert score.tokens == made["tokens"].sum()
    with pytest.raises(BenchError, match="tokens=0: must be at least 1"):
        library.make_traces(out, tokens=0)


# --- what is refused ----------------------------------------------------------------------------------------------------


def test_the_command(
    bench: Callable[..., Outcome], model: Path, own: Path, cache: Path, tmp_path: Path, traces: Traces
) -> None:
    out = tmp_path / "own.jsonl"
    line = ["traces", out, "--model", model, "--conversations", own, "--seed", 3, "--tokens", 48, "--temperature", 3, "--window", WINDOW,
            "--threads", 1, "--cache", cache]  # fmt: skip
    done = bench(*line)
    assert done.code == 0, done.err
    assert out.read_bytes() == traces.path.read_bytes()
    assert (
        f"{len(CONVERSATIONS)} conversations" in done.out
        and f"run --traces {out}" in done.out
        and traces.sha256 in done.out
    )
    again = bench(*line)
    assert (
        again.code == 2 and "own.jsonl: is there already; give another name, or overwrite it with --force" in again.err
    )
    forced = bench(*line, "--force", "--json")
    assert forced.code == 0 and json.loads(forced.out)["sha256"] == traces.sha256


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--text", "own"], "--text and --traces say what to score, each another thing; leave all but one out"),
        (["--languages", "de"], "--languages and --traces say what to score"),
        (["--score", "all"], "--score says which tokens of a text are scored"),
        (["--recall", "16"], "--recall takes passages of a text, which --traces is not"),
        (["--window", "32"], "give --window 256"),
        (["--windows", "99"], "has 1 to 8 windows"),
    ],
)
def test_what_contradicts_traces(
    more: list[str],
    said: str,
    bench: Callable[..., Outcome],
    model: Path,
    traces: Traces,
    own: Path,
    cache: Path,
    tmp_path: Path,
) -> None:
    more = [str(own) if m == "own" else m for m in more]
    done = bench("run", "--model", model, "--traces", traces.path, "--window", WINDOW, "--recipes", "Q4_0", "--no-imatrix", "--cache", cache,
                 "--out", tmp_path / "run", *more)  # fmt: skip
    assert done.code == 2 and said in done.err and len(done.err.strip().splitlines()) <= 12, done.err
    assert not (tmp_path / "run").exists()


def test_a_model_of_another_vocabulary_is_refused(
    bench: Callable[..., Outcome], traces: Traces, tiny: Path, cache: Path
) -> None:
    done = bench("ppl", tiny, "--traces", traces.path, "--window", WINDOW, "--cache", cache)
    assert done.code == 2
    assert (
        "was written by talker, and tiny has another vocabulary, in which its tokens mean other things; make traces"
        in done.err
    )


def test_another_model_of_the_same_vocabulary_is_told(
    bench: Callable[..., Outcome], traces: Traces, tmp_path: Path, cache: Path
) -> None:
    other = model_of(tmp_path / "other.gguf", seed=2)
    done = bench("run", "--model", other, "--traces", traces.path, "--window", WINDOW, "--windows", 1, "--recipes", "F16", "--no-imatrix",
                 "--no-speed", "--cache", cache, "--out", tmp_path / "run")  # fmt: skip
    assert done.code == 0, done.err
    assert "was written by talker, another model than the reference other" in done.err


def test_traces_are_no_text(bench: Callable[..., Outcome], traces: Traces, model: Path, cache: Path) -> None:
    done = bench("ppl", model, "--text", traces.path, "--window", WINDOW, "--cache", cache)
    assert (
        done.code == 2 and "holds what a model wrote, of which only that is scored; give it with --traces" in done.err
    )
    done = bench("ppl", model, "--traces", model, "--window", WINDOW, "--cache", cache)
    assert done.code == 2 and "is no file of traces" in done.err


def test_models_and_conversations_that_do_not_do(
    bench: Callable[..., Outcome], tiny: Path, model: Path, own: Path, cache: Path, tmp_path: Path
) -> None:
    out, common = tmp_path / "t.jsonl", ["--window", WINDOW, "--cache", cache]
    done = bench("traces", out, "--model", tiny, *common)
    assert done.code == 2 and "tiny: has no chat template" in done.err
    fim = tmp_path / "fim.jsonl"
    fim.write_text(json.dumps({"prefix": "a", "middle": "b", "suffix": "c"}))
    done = bench("traces", out, "--model", model, "--conversations", fim, *common)
    assert done.code == 2 and "holds infill problems, which nobody answers" in done.err
    done = bench("traces", own, "--model", model, "--conversations", own, *common, "--force")
    assert done.code == 2 and "is what is read from" in done.err
    done = bench("traces", out, "--model", model, "--temperature", 1000, *common)
    assert done.code == 2 and "--temperature 1000: must be from 0" in done.err
    assert not out.exists()


def test_a_conversation_that_the_template_refuses_is_left_out(
    options: Options, asked: Asked, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATML
    model = model_of(tmp_path / "strict.gguf", strict)
    found = make_traces(
        Work(replace(options, model=str(model)), Reporter()), tmp_path / "s.jsonl", replace(asked, tokens=4)
    )
    assert len(found.talks) == len(CONVERSATIONS) - 1
    assert "1 of 8 conversations are left out, such as own-3" in capfd.readouterr().err


def test_a_file_is_read_as_it_was_made(traces: Traces) -> None:
    assert read_traces(traces.path) == traces
