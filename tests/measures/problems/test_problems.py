"""Infill problems and conversations: read, turned into tokens, scored, completed, put into tables."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.engine.context import Context
from bench.engine.llama import Model
from bench.measures.problems.jobs import EncodedSet, EncodeJob, EncodeResult, ProblemResult
from bench.measures.problems.runs import problem_sets, problems_of
from bench.measures.problems.sets import KINDS, Conversation, Infill, Stop, problem_set
from bench.measures.problems.tables import edit_similarity, is_exact, key, problem_table, scores, title
from bench.measures.registry import load_run
from bench.measures.windows.runs import windows_of
from bench.present.pages.repeat import command, repeat
from tests.conftest import Outcome
from tests.support.architectures import REFACT_TOKENS, refact
from tests.support.held import Held
from tests.support.tiny import Shape, vocabulary, write_model

PROBLEMS = [
    {"prefix": "a = ", "middle": "1 + 2", "suffix": "\nb = a\n", "language": "python"},
    {"prefix": "def f(x):\n    ", "middle": "y = x\n    return y", "suffix": "\n\nprint(f(1))\n", "language": "python"},
    *({"prefix": f"x{i} = ", "middle": f"f({i})", "suffix": ";\n", "language": "c"} for i in range(6)),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return refact(tmp_path_factory.mktemp("model") / "refact.gguf")


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, PROBLEMS)))
    return path


# --- what there is ----------------------------------------------------------------------------------------------------


def test_the_fixed_sets() -> None:
    fim, chat = problem_set("fim"), problem_set("chat")
    infills = [p for p in fim.problems if isinstance(p, Infill)]
    assert len(infills) == len(fim.problems) >= 40
    assert len({p.group for p in infills}) == 8
    lines = [p for p in infills if "\n" not in p.middle]
    assert len(lines) == len(infills) / 2
    assert all(isinstance(p, Conversation) and p.messages[-1][0] == "assistant" for p in chat.problems)


def test_a_file_need_not_tell_languages(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"prefix": "a = ", "middle": "1", "suffix": ""}\n')
    assert [p.group for p in problem_set(str(path)).problems] == ["other"]


def test_every_fixed_gap_is_cut_where_it_ends() -> None:
    """A model that writes the gap and what follows it gets exactly the gap, however its tokens fall."""
    for problem in problem_set("fim").problems:
        assert isinstance(problem, Infill)
        stop, written = Stop.of(problem), ""
        for character in problem.middle + problem.suffix:
            written += character
            if (cut := stop.cut(written)) is not None:
                break
        assert cut is not None and is_exact(stop.without_rest(cut, problem.middle), problem.middle), problem.name


def test_where_a_completion_ends() -> None:
    line = Stop.of(Infill("n", "g", "x = f(", "a, b", ")\ny\n"))
    assert line.cut("a, b") is None
    assert line.cut("a, b)\nmore") == "a, b)" and line.cut("a, b\n") == "a, b"
    assert line.without_rest("a, b)", "a, b") == "a, b" == line.without_rest("a, b", "a, b")
    call = Stop.of(Infill("n", "g", "print(", "len(x)", ")\n"))
    assert call.without_rest("len(x)", "len(x)") == "len(x)" == call.without_rest("len(x))", "len(x)")
    block = Stop.of(Infill("n", "g", "{\n  ", "if x {\n    y\n  }\n  z", "\n}\nend\n"))
    assert block.cut("if x {\n    y\n  }\n  z\n}") is None  # the line may go on
    assert block.cut("if x {\n    y\n  }\n  z\n}\n") == "if x {\n    y\n  }\n  z"
    assert block.cut("\n".join("abcdefghijklmnop")) == "\n".join("abcdefghijkl")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", r"own\.jsonl:1: is not JSON"),
        ('{"prefix": "a", "suffix": "b"}', r"own\.jsonl:1: needs texts `prefix`, `suffix` and a `middle`"),
        ('{"prefix": "a", "suffix": "b", "middle": ""}', "is not empty"),
        ('{"messages": []}', "has no messages"),
        ('{"messages": [{"role": "me", "content": "x"}]}', "needs a `role`"),
        ("", "holds no problem"),
        (json.dumps(PROBLEMS[0]) + '\n{"messages": [{"role": "user", "content": "x"}]}', "mixes"),
    ],
)
def test_bad_problems(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(line)
    with pytest.raises(BenchError, match=said):
        problem_set(str(tmp_path / "own.jsonl"))


def test_a_kind_that_is_none(bench: Callable[..., Outcome], model: Path, text: Path, tmp_path: Path) -> None:
    done = bench("run", "--model", model, "--text", text, "--window", 64, "--windows", 1, "--recipes", "Q8_0",
                 "--kinds", "fill", "--cache", tmp_path)  # fmt: skip
    assert done.code == 2 and "--kinds fill: is none of fim, code, chat and no file" in done.err


# --- tokens -------------------------------------------------------------------------------------------------------------


def encode(
    model: Path, problems: str, out: Path, *, template: str | None = None, assistant_only: bool = False
) -> tuple[EncodedSet, EncodeResult]:
    held = Held(out.parent)
    job = EncodeJob(
        model=held(model),
        problems=problems if problems in KINDS else held(Path(problems)),
        template=template,
        context=1024,
        assistant_only=assistant_only,
        out=held(out),
    )
    result = held.do(job)
    return EncodedSet.model_validate_json(out.read_bytes()), result


def bytes_of(tokens: tuple[int, ...]) -> str:
    """The text of tokens of the tiny vocabulary, control tokens spelled out."""
    names = vocabulary(*REFACT_TOKENS)[0]
    raw = b"".join(
        bytes([int(n[3:5], 16)]) if n.startswith("<0x") else n.replace("▁", " ").encode()
        for n in (names[t] for t in tokens)
    )
    return raw.decode()


def test_infill_prompts_are_in_the_order_that_models_know(model: Path, problems: Path, tmp_path: Path) -> None:
    [batch] = encode(model, str(problems), tmp_path / "encoded.json")[0].batches
    first = batch[0]
    # the blank at the beginning of a text is this kind of vocabulary's own, and stands before the prefix alone
    assert bytes_of(first.tokens) == "<s><fim_prefix> a = <fim_suffix>\nb = a\n<fim_middle>1 + 2"
    [(start, end)] = first.scored
    assert start == first.prompt and end == len(first.tokens)
    assert bytes_of(first.tokens[start:end]) == "1 + 2"


def test_code_to_go_on_with_is_what_precedes_the_gap(tmp_path: Path) -> None:
    """By a model without infill tokens: blanks before the gap are the model's to write, and nothing of the rest is told."""
    plain = write_model(tmp_path / "plain.gguf", Shape(layers=1))
    with pytest.raises(BenchError, match=r"no infill tokens.*--kinds code"):
        encode(plain, "fim", tmp_path / "fim.json")
    encoded, result = encode(plain, "code", tmp_path / "code.json")
    asked = {p.name: p for b in encoded.batches for p in b}
    gaps = {p.name: p for p in problem_set("fim").problems if isinstance(p, Infill)}
    assert asked and asked.keys() | result.left_out.keys() == gaps.keys()
    for p in problem_set("code").problems:
        assert isinstance(p, Infill) and p.prefix + p.middle + p.suffix == "".join(
            (gaps[p.name].prefix, gaps[p.name].middle, gaps[p.name].suffix)
        )
        if (found := asked.get(p.name)) is not None:
            names = vocabulary()[0]
            spelled = [names[t] for t in found.tokens[: found.prompt]]
            assert spelled[0] == "<s>" and spelled[-1] not in ("▁", "<0x09>")
            assert bytes_of(found.tokens[found.prompt :]) == p.middle, "no blank more than there is"
            assert found.expected == p.middle and found.scored == ((found.prompt, len(found.tokens)),)


def test_a_run_with_code_to_go_on_with(
    bench: Callable[..., Outcome], tiny: Path, text: Path, cache: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tree_sitter")
    done = bench("run", "--model", tiny, "--text", text, "--window", 64, "--windows", 1, "--generate", 0, "--recipes", "Q8_0", "--threads", 1,
                 "--no-imatrix", "--kinds", "code", "--cache", cache, "--out", tmp_path)  # fmt: skip
    assert done.code == 0, done.err
    run = load_run(tmp_path)
    [identity] = problem_sets(run)
    assert identity.judge.startswith("tree-sitter ") and "SHA-256" in identity.judge
    table = problem_table(run, identity)
    assert {"Parses [95 %]", "Exact [95 %]"} <= set(table.columns) and title(identity) == "Code"
    assert "cannot know what follows" in key(run, identity)
    facts = dict(repeat(run).facts)["Problems"]
    assert dict(facts)["code, completed files judged by"] == identity.judge
    assert "--kinds code" in command(run)


CHAT = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "four"},
]


@pytest.mark.parametrize("assistant_only", [False, True])
def test_chat_in_the_form_of_refact(assistant_only: bool, model: Path, tmp_path: Path) -> None:
    from bench.texts.chat import REFACT_TEMPLATE

    own = tmp_path / "chat.jsonl"
    own.write_text(json.dumps({"messages": CHAT}))
    encoded, _ = encode(
        model, str(own), tmp_path / "encoded.json", template=REFACT_TEMPLATE, assistant_only=assistant_only
    )
    [[found]] = encoded.batches
    text = "USER one\n<empty_output>ASSISTANT two\n<empty_output>USER three\n<empty_output>ASSISTANT four\n"
    assert bytes_of(found.tokens).replace("<empty_output> ", "<empty_output>") == f"<s><empty_output>{text}"
    scored = [bytes_of(found.tokens[a:b]) for a, b in found.scored]
    if assistant_only:
        assert [s.strip() for s in scored] == ["two", "four"]
    else:
        assert found.scored == ((1, len(found.tokens)),)


def test_problems_beyond_the_context_are_left_out(model: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text("\n".join(json.dumps({"prefix": "a" * n, "middle": "b", "suffix": "c"}) for n in (10, 2000)))
    encoded, result = encode(model, str(own), tmp_path / "encoded.json")
    assert [p.name for b in encoded.batches for p in b] == ["own-1"]
    assert result.left_out.keys() == {"own-2"} and "the context holds 1024" in result.left_out["own-2"]


def test_a_conversation_that_a_template_refuses_is_left_out(model: Path, tmp_path: Path) -> None:
    template = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}{{ m.content }}{% endfor %}"
    own = tmp_path / "chat.jsonl"
    system = {"role": "system", "content": "be brief"}
    own.write_text("\n".join(json.dumps({"messages": m}) for m in (CHAT, [system, *CHAT])))
    encoded, result = encode(model, str(own), tmp_path / "encoded.json", template=template)
    assert len(encoded.batches[0]) == 1 and "no system role" in result.left_out["chat-2"]
    own.write_text(json.dumps({"messages": [system, *CHAT]}))
    with pytest.raises(BenchError, match="no system role"):
        encode(model, str(own), tmp_path / "other.json", template=template)


# --- scores -------------------------------------------------------------------------------------------------------------


def test_nll_is_that_of_the_gap_alone(
    bench: Callable[..., Outcome], model: Path, problems: Path, text: Path, tmp_path: Path
) -> None:
    """Against logits of a context of our own, softmax in float64."""
    done = bench("run", "--model", model, "--text", text, "--window", 64, "--windows", 1, "--generate", 0, "--recipes", "Q8_0",
                 "--no-imatrix", "--kinds", problems, "--cache", tmp_path / "cache", "--out", tmp_path / "run")  # fmt: skip
    assert done.code == 0, done.err
    run = load_run(tmp_path / "run")
    [identity] = problem_sets(run)
    found = problems_of(run, identity.key)["F16"][0].results
    [batch] = encode(model, str(problems), tmp_path / "encoded.json")[0].batches
    with Model(model) as m, Context(m, n_ctx=512, n_batch=512, n_ubatch=512, threads=1) as context:
        for problem, result in zip(batch, found, strict=True):
            context.clear()
            tokens = np.array(problem.tokens, np.int32)
            context.prepare(tokens, 0)
            context.decode()
            logits = context.logits().astype(np.float64)
            log_p = (
                logits
                - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
                - logits.max(1, keepdims=True)
            )
            [(a, b)] = problem.scored
            expected = -sum(log_p[i - 1, tokens[i]] for i in range(a, b))
            assert result.nll == pytest.approx(expected, rel=1e-4)
            assert result.tokens == b - a and result.completion is not None
            assert (result.parses is None) == (problem.group == "c") and result.passes is None
    text_of = (tmp_path / "run" / "tables" / "tables.md").read_text()
    assert "/own.jsonl\n" in text_of and "Infill problems: 8 pieces" in text_of
    again = bench("run", "--model", model, "--text", text, "--window", 64, "--windows", 1, "--generate", 0, "--recipes", "Q8_0",
                  "--no-imatrix", "--kinds", problems, "--cache", tmp_path / "cache", "--out", tmp_path / "run")  # fmt: skip
    assert again.code == 0 and len(load_run(tmp_path / "run").records) == len(run.records)


def test_a_model_without_what_a_kind_needs_is_told_so(
    bench: Callable[..., Outcome], tiny: Path, text: Path, tmp_path: Path
) -> None:
    done = bench("run", "--model", tiny, "--text", text, "--window", 64, "--windows", 1, "--generate", 0, "--recipes", "Q8_0",
                 "--no-imatrix", "--kinds", "fim,chat", "--cache", tmp_path / "cache", "--out", tmp_path / "run")  # fmt: skip
    assert done.code == 0, done.err
    assert "the model has no infill tokens" in done.err and "the model has no chat template" in done.err
    assert windows_of(load_run(tmp_path / "run")).results("Q8_0") and not problem_sets(load_run(tmp_path / "run"))


def test_known_spellings_are_found_where_a_file_names_no_tokens(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", Shape(layers=1), control=("<|fim_begin|>", "<|fim_hole|>", "<|fim_end|>"))
    first = len(vocabulary()[0])
    with Model(path, vocab_only=True) as model:
        assert model.infill_tokens() == (first, first + 1, first + 2)


# --- figures ------------------------------------------------------------------------------------------------------------


def result(name: str, tokens: int, nll: float, completion: str, *, kl: float | None = None) -> ProblemResult:
    return ProblemResult(
        name=name,
        group="g",
        tokens=tokens,
        nll=nll,
        correct=0,
        kl=kl,
        same_top=0,
        completion=completion,
        expected="abcd",
    )


def test_figures_by_hand() -> None:
    """Two problems of 2 and 4 tokens: PPL = exp(9 / 6); against the reference exp((9 - 6) / 6) - 1."""
    reference = [result("a", 2, 2.0, "abcd"), result("b", 4, 4.0, "abcd")]
    this = [result("a", 2, 3.0, "abcd", kl=0.6), result("b", 4, 6.0, "abxx", kl=0.6)]
    found = scores(this, reference)
    assert found.ppl.value == pytest.approx(math.exp(1.5)) and not found.ppl.has_interval
    assert found.change is not None and found.change.value == pytest.approx(math.exp(0.5) - 1)
    assert found.kl is not None and found.kl.value == pytest.approx(0.2)
    assert found.exact is not None and found.exact.value == 0.5
    assert found.similarity is not None and found.similarity.value == pytest.approx((1 + 0.5) / 2)
    assert found.similarity_change is not None and found.similarity_change.value == pytest.approx(-0.25)


def test_exact_and_similar() -> None:
    assert is_exact("  a = 1  \n  b", "a = 1\n  b") and not is_exact("a", "b")
    assert edit_similarity("kitten", "sitting") == pytest.approx(1 - 3 / 7)
    assert edit_similarity("", "") == 1 and edit_similarity("", "abc") == 0
