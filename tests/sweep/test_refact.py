"""Refact's form from end to end, on a tiny Refact with its tokens: infill, conversations, and tasks on both, in one run.

The files of such models hold no chat template, so conversations are put in the form that Refact's makers give.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.core.progress import Reporter
from bench.execute.content import Content
from bench.measures.problems import options as problem_options
from bench.measures.problems.jobs import EncodedProblem, EncodedSet
from bench.measures.problems.runs import problem_sets
from bench.measures.problems.tables import problem_results, scores
from bench.measures.registry import load_run
from bench.measures.tasks import options as task_options
from bench.measures.tasks.jobs import Continuation, EncodedBatch, EncodedWriting, EncodeJob, Requests, Writing
from bench.measures.tasks.runs import tasks_of
from bench.measures.tasks.statistics import scores_of
from bench.measures.windows.runs import windows_of
from bench.measures.windows.tables import full_frame
from bench.present.card import Given, write_card
from bench.present.output import summarize
from bench.present.pages.repeat import command
from bench.records.run import Run
from bench.sweep.sweep import Sweep
from bench.traces.make import Asked as TracesAsked
from bench.traces.make import make_traces
from bench.workbench.options import Options
from bench.workbench.work import Work
from tests.support.architectures import REFACT_OWN_TOKENS, refact
from tests.support.held import Held
from tests.support.tiny import SPELLED, byte_level_vocabulary

pytest.importorskip("lm_eval")

FILES = {"F16", "Q8_0"}
PROBLEMS = [
    {"prefix": "def f(x):\n    ", "middle": "return x", "suffix": "\n\nprint(f(1))\n", "language": "python"},
    {"prefix": "let y = ", "middle": "a + 2", "suffix": ";\n", "language": "rust"},
]
CHATS = [
    {"system": "Be brief.", "question": "Is 2 even?", "answer": "Yes."},
    {"system": "You are a programming assistant.", "question": "What is a list?", "answer": "An ordered collection."},
]
#: The task that the page of Refact shows.
INFILL = "my_infill"
PAGE = Path(__file__).parents[2] / "docs" / "refact.md"
CHAT = """\
task: tiny_chat
dataset_path: json
dataset_kwargs:
  data_files:
    test: questions.jsonl
test_split: test
output_type: generate_until
doc_to_text: '{"messages": {{ [{"role": "system", "content": system}, {"role": "user", "content": question}] | tojson }}}'
doc_to_target: "{{answer}}"
generation_kwargs:
  until: []
  max_gen_toks: 4
metric_list:
  - metric: exact_match
metadata:
  version: 1.0
  chat: true
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return refact(tmp_path_factory.mktemp("model") / "refact.gguf", own_vocabulary=True)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Problems and conversations as files of their own, and the same as tasks."""
    found = tmp_path_factory.mktemp("own") / "refact-tasks"
    found.mkdir()
    [shown] = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (found / "infill.yaml").write_text(shown)
    (found / "chat.yaml").write_text(CHAT)
    messages = [
        {"messages": [{"role": r, "content": c[k]} for r, k in (("system", "system"), ("user", "question"), ("assistant", "answer"))]}
        for c in CHATS
    ]  # fmt: skip
    for name, lines in {INFILL: PROBLEMS, "questions": CHATS, "chat": messages}.items():
        (found / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return found


def spelled(tokens: tuple[int, ...]) -> str:
    """The text of tokens of the tiny vocabulary, control tokens in full."""
    names, raw = byte_level_vocabulary(*REFACT_OWN_TOKENS)[0], {c: b for b, c in SPELLED.items()}
    return b"".join(
        n.encode() if n in REFACT_OWN_TOKENS else bytes(raw[c] for c in n) for n in (names[t] for t in tokens)
    ).decode()


def marks(tokens: tuple[int, ...]) -> list[str]:
    """The control tokens among them, in their order."""
    return [REFACT_OWN_TOKENS[t] for t in tokens if t < len(REFACT_OWN_TOKENS)]


def infill(problem: dict[str, str]) -> str:
    return f"<fim_prefix>{problem['prefix']}<fim_suffix>{problem['suffix']}<fim_middle>"


def conversation(chat: dict[str, str]) -> str:
    return f"<empty_output>SYSTEM {chat['system']}\n<empty_output>USER {chat['question']}\n<empty_output>ASSISTANT"


@pytest.fixture(scope="module")
def run(model: Path, directory: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("run")
    kinds = (str(directory / f"{INFILL}.jsonl"), str(directory / "chat.jsonl"))
    options = Options(
        model=str(model), text=text, recipes=("Q8_0",), no_imatrix=True, window=64, windows=1, threads=1, generate=2, out=out,
        cache=out / "cache",
        measures={
            "problems": problem_options.Asked(kinds=kinds),
            "tasks": task_options.Asked(tasks=(INFILL, "tiny_chat"), task_path=directory),
        },
    )  # fmt: skip
    Sweep(options, Reporter()).execute()
    return load_run(out)


def encoded_problems(run: Run) -> list[list[EncodedProblem]]:
    """Of each set, as the files read them."""
    assert run.directory is not None
    paths = [run.directory / f"cache/tokens/problems-{p.key}.json" for p in problem_sets(run)]
    return [[p for b in EncodedSet.model_validate_json(path.read_bytes()).batches for p in b] for path in paths]


def batches_of(path: Path) -> list[EncodedBatch]:
    return [EncodedBatch.model_validate_json(line) for line in path.read_text().splitlines()]


def encoded_writings(run: Run) -> list[list[EncodedWriting]]:
    """Of each task, as the files read them."""
    assert run.directory is not None
    paths = [run.directory / f"cache/tokens/tasks-{t.key}.jsonl" for t in tasks_of(run)]
    found = [batches_of(path) for path in paths]
    return [sorted((w for b in batches for w in b.writings), key=lambda w: w.request) for batches in found]


def test_infill_is_prefix_suffix_middle(run: Run) -> None:
    for problem, found in zip(PROBLEMS, encoded_problems(run)[0], strict=True):
        assert marks(found.tokens) == ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"]
        assert spelled(found.tokens) == infill(problem) + problem["middle"]
        assert [spelled(found.tokens[a:b]) for a, b in found.scored] == [problem["middle"]]


def test_chat_is_a_turn_a_line(run: Run) -> None:
    for chat, found in zip(CHATS, encoded_problems(run)[1], strict=True):
        assert marks(found.tokens) == ["<empty_output>"] * 3
        assert spelled(found.tokens) == f"{conversation(chat)} {chat['answer']}\n"


def test_tasks_ask_in_the_same_form(run: Run) -> None:
    gaps, chats = encoded_writings(run)
    assert [w.tokens for w in gaps] == [p.tokens[: p.prompt] for p in encoded_problems(run)[0]]
    assert [spelled(w.tokens) for w in chats] == list(map(conversation, CHATS))
    assert [marks(w.tokens) for w in chats] == [["<empty_output>"] * 3] * 2
    assert [marks(w.ends) for w in gaps] == [["<fim_prefix>", "<fim_suffix>", "<fim_middle>"]] * 2
    assert [marks(w.ends) for w in chats] == [["<empty_output>"]] * 2


def test_every_file_has_every_figure(run: Run) -> None:
    assert run.files.keys() == FILES and all(windows_of(run).results(name) for name in FILES)
    figures = full_frame(run).set_index("recipe")[["ppl", "window_seconds", "generation_tokens_per_second", "peak_memory_bytes"]]  # fmt: skip
    assert set(figures.index) == FILES and figures.notna().all(axis=None)
    for problems, has_gaps in zip(problem_sets(run), (True, False), strict=True):
        results = problem_results(run, problems)
        assert results.keys() == FILES
        for name, of in results.items():
            found = scores(of, None if name == "F16" else results["F16"])
            assert found.problems == 2 and found.ppl.value > 1 and (found.exact is not None) == has_gaps
            assert (found.kl is not None) == (name != "F16")
    assert [t.name for t in tasks_of(run)] == [INFILL, "tiny_chat"]
    for task in tasks_of(run):
        found_scores = scores_of(run, task)
        assert found_scores.keys() == FILES and {s.n for s in found_scores.values()} == {2}
        assert found_scores["Q8_0"].pairing is not None


def test_it_is_shown(run: Run, tmp_path: Path) -> None:
    sets, names = f"refact-tasks/{INFILL}.jsonl,refact-tasks/chat.jsonl", f"{INFILL},tiny_chat"
    markdown, again = summarize(run).markdown, command(run)
    for title in (f"{k}: {s}" for k, s in zip(("Infill", "Conversations"), sets.split(","), strict=True)):
        assert f"## {title}\n" in markdown
    assert "## Task by task\n" in markdown and all(f"### {n}: 2 questions" in markdown for n in names.split(","))
    assert f"--kinds {sets}" in again and f"--tasks {names} --task-path refact-tasks" in again
    assert run.directory is not None
    given = Given(base_model="smallcloudai/Refact-1_6B-fim")
    card = write_card(run, run.directory, tmp_path, given).path.read_text(encoding="utf-8")
    assert f"| Infill: refact-tasks/{INFILL}.jsonl |" in card and "| Tasks |" in card and again in card
    assert (
        "```\n<empty_output>SYSTEM {system_prompt}\n<empty_output>USER {prompt}\n<empty_output>ASSISTANT\n```" in card
    )
    assert "The files hold no chat template" in card and "localhost:8080/infill" in card


def test_an_answer_of_traces_ends_at_the_next_turn(model: Path, tmp_path: Path) -> None:
    """So hot that any token may come, the one that begins a turn among them."""
    conversations = tmp_path / "asked.jsonl"
    asked_for = [{"messages": [{"role": "user", "content": f"{n}?"}]} for n in range(12)]
    conversations.write_text("".join(json.dumps(c) + "\n" for c in asked_for))
    work = Work(Options(model=str(model), window=512, threads=1, cache=tmp_path / "cache"), Reporter())
    asked = TracesAsked(conversations=conversations, tokens=200, temperature=99.0)
    talks = make_traces(work, tmp_path / "traces.jsonl", asked).talks
    answers = [p.tokens[a:b] for t in talks for p in t.passages for a, b in p.written]
    ends = {"<empty_output>", "<|endoftext|>"}
    assert not any(ends.intersection(marks(a[:-1])) for a in answers)
    assert [a.stop for t in talks for a in t.answers] == [
        "ended" if ends.intersection(marks(a[-1:])) else "limit" for a in answers
    ]
    assert "<empty_output>" in {m for a in answers for m in marks(a[-1:])}


@pytest.mark.parametrize("special", [True, False])
def test_special_tokens_are_read_where_a_task_says_so(special: bool, model: Path, tmp_path: Path) -> None:
    context = infill(PROBLEMS[1])
    asked = Requests(
        requests=(
            Continuation(context=context, text="a + 2", special=special),
            Writing(context=context, limit=4, special=special),
        )
    )
    (tmp_path / "requests.json").write_text(asked.model_dump_json())
    held = Held(tmp_path)
    out = Content(name="encoded.json")
    held.do(
        EncodeJob(model=held(model), requests=held(tmp_path / "requests.json"), template=None, context=512, out=out)
    )
    scored, written = batches_of(tmp_path / "encoded.json")
    [[sequence]], [writing] = scored.packs, written.writings
    assert spelled(sequence.tokens) == f"{context}a + 2" and spelled(sequence.tokens[sequence.first :]) == "a + 2"
    assert spelled(writing.tokens) == context
    expected = ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"] if special else []
    assert marks(sequence.tokens) == marks(writing.tokens) == marks(writing.ends) == expected
