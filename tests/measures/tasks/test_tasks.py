"""Tasks in a run: a directory of tasks is put to every file, answers are judged, kept, paired and shown; what is missing is answered later."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.measures.registry import load_run
from bench.measures.tasks.frames import FRAMES
from bench.measures.tasks.harness import Choice, Harness
from bench.measures.tasks.jobs import Continuation
from bench.measures.tasks.options import Asked
from bench.measures.tasks.records import AnswerRecord, TaskRecord
from bench.measures.tasks.runs import answers_of, judged_of, tasks_of
from bench.measures.tasks.statistics import scores_of
from bench.measures.tasks.tables import summary_table, task_table
from bench.present.output import summarize
from bench.present.pages.repeat import command, repeat
from bench.records.run import FILE_NAME, Run
from bench.sweep.sweep import Sweep
from bench.workbench.options import Options
from tests.conftest import Outcome
from tests.support.tasks import CHOICE, WRITING, write_tasks

pytest.importorskip("lm_eval")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def options(tiny: Path, text: Path, cache: Path, directory: Path) -> Options:
    return Options(
        model=str(tiny), text=text, recipes=("Q4_0",), no_imatrix=True, window=128, windows=1, threads=1, cache=cache, no_speed=True,
        measures={"tasks": Asked(tasks=("tiny",), task_path=directory)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(options: Options, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("run")
    Sweep(replace(options, out=out), Reporter()).execute()
    return load_run(out)


def test_every_file_answers_every_question(run: Run) -> None:
    choice, written = tasks_of(run)
    assert [(t.name, t.asked, t.items) for t in (choice, written)] == [
        ("tiny_choice", "tiny", 20),
        ("tiny_writing", "tiny", 5),
    ]
    assert choice.chance == pytest.approx(1 / 3) and written.settings == "always the likeliest token, 5 tokens at most"
    for task in (choice, written):
        assert set(judged_of(run, task.key)) == {"F16", "Q4_0"}
    scores = scores_of(run, choice)
    assert scores["F16"].pairing is None and scores["Q4_0"].pairing is not None
    assert scores["Q4_0"].pairing.margin is not None and set(scores["F16"].others) == {"acc_norm"}


def test_answers_are_judged_as_they_stand_in_the_records(run: Run) -> None:
    choice = tasks_of(run)[0]
    answers = {a.request: a for r in answers_of(run, choice.key)["Q4_0"].values() for a in r.probabilities}
    for n, item in enumerate(judged_of(run, choice.key)["Q4_0"].items):
        own = [answers[3 * n + i].logarithm for i in range(3)]
        right = n % 3
        assert item.scores["acc"] == float(own.index(max(own)) == right)
        assert item.margin == pytest.approx(own[right] - max(o for i, o in enumerate(own) if i != right))


def test_it_is_shown(run: Run, directory: Path) -> None:
    choice, written = tasks_of(run)
    table = task_table(run, choice)
    assert list(table.columns) == [
        "Recipe",
        "acc [95 %]",
        "Kept [95 %]",
        "Lost",
        "Won",
        "Answers",
        "Δ margin [95 %]",
        "Margin",
        "acc_norm",
    ]
    assert "Never ended" in task_table(run, written).columns and len(summary_table(run)) == 2
    markdown = summarize(run).markdown
    assert (
        "## Task by task\n" in markdown
        and "### tiny_choice: 20 questions" in markdown
        and "guessing has 33.3" in markdown
    )
    assert "--tasks tiny" in command(run)
    items, scores, pairs = (frame.raw(run) for frame in FRAMES)
    assert pairs.empty  # nothing here is mixed
    assert len(items) == 2 * (20 * 2 + 5) and len(scores) == 4


def test_tasks_of_other_limits_are_told_apart(run: Run, options: Options, tmp_path: Path) -> None:
    """A command has one limit, so one command cannot ask both."""
    lines = [run.header.model_dump_json(), *(r.model_dump_json() for r in run.records if r is not run.header)]
    (tmp_path / FILE_NAME).write_text("\n".join(dict.fromkeys(lines)) + "\n")
    fewer = Asked(tasks=("tiny_writing",), task_path=options.measures["tasks"].task_path, limit=2)
    Sweep(replace(options, out=tmp_path, measures={"tasks": fewer}), Reporter()).execute()
    again = load_run(tmp_path)
    assert "--tasks tiny " not in f"{command(again)} " or "--limit" in command(again)
    said = dict(dict(repeat(again).facts)["Problems"])
    [apart] = [v for k, v in said.items() if k.endswith("asked apart")]
    assert apart.startswith("--tasks tiny") and {"--limit 2" in apart, "--limit 2" in command(again)} == {True, False}


def test_what_is_missing_is_answered_and_nothing_else(
    run: Run, options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [
        r
        for r in run.records
        if not (isinstance(r, AnswerRecord | TaskRecord) and r.recipe == "Q4_0" and r.task.name == "tiny_choice")
    ]
    lines = [run.header.model_dump_json(), *(r.model_dump_json() for r in kept if r is not run.header)]
    (tmp_path / FILE_NAME).write_text("\n".join(dict.fromkeys(lines)) + "\n")
    before = len(load_run(tmp_path).records)
    Sweep(replace(options, out=tmp_path), Reporter()).execute()
    again = load_run(tmp_path)
    added = [r for r in again.records[before:] if isinstance(r, AnswerRecord | TaskRecord)]
    assert [(type(r).__name__, r.recipe, r.task.name) for r in added] == [
        ("AnswerRecord", "Q4_0", "tiny_choice"), ("TaskRecord", "Q4_0", "tiny_choice"),
    ]  # fmt: skip
    assert judged_of(again, tasks_of(run)[0].key)["Q4_0"].items == judged_of(run, tasks_of(run)[0].key)["Q4_0"].items


def test_files_are_compared_outside_a_run(
    bench: Callable[..., Outcome], tiny: Path, cache: Path, directory: Path, run: Run
) -> None:
    asked = ("tasks", tiny, "--tasks", "tiny_choice", "--task-path", directory, "--threads", 1, "--cache", cache)
    done = bench(*asked)
    assert done.code == 0, done.err
    assert "tiny_choice: 20 questions" in done.out and "guessing has 33.3" in done.out
    told = json.loads(bench(*asked, "--json").out)
    [(_, file)] = told[0]["files"].items()
    assert file["accuracy"]["value"] == scores_of(run, tasks_of(run)[0])["F16"].accuracy.value


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tasks", "tiny_chioce"], "--tasks tiny_chioce: is no task .*did you mean tiny_choice"),
        (["--tasks", "tiny,tiny_choice"], "tiny_choice is asked for twice"),
        (["--limit", "3"], "say how --tasks are put; give --tasks too"),
        (["--tasks", "broken"], "--tasks broken: .*"),
        (["--tasks", "strange"], "--tasks strange: .*concatenate"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    arguments: list[str], said: str, directory: Path, tiny: Path, tmp_path: Path, bench: Callable[..., Outcome]
) -> None:
    (directory / "broken.yaml").write_text(
        CHOICE.replace("tiny_choice", "broken").replace("choice.jsonl", "nowhere.jsonl")
    )
    (directory / "strange.yaml").write_text(
        WRITING.replace("tiny_writing", "strange").replace("{{question}}", "{{question + 1}}")
    )
    path = [] if "--tasks" not in arguments else ["--task-path", directory]
    done = bench("run", "--model", tiny, "--recipes", "Q8_0", *arguments, *path, "--cache", tmp_path, "--dry-run")
    assert done.code == 2
    with pytest.raises(BenchError, match=said):
        raise BenchError(done.err.strip().splitlines()[-1])


def test_examples_are_the_same_every_time_and_no_subject_is_lost(directory: Path, tmp_path: Path) -> None:
    """Examples are drawn by chance, and a tag stands for all that bear it."""
    for name in ("one", "two"):
        text = CHOICE.replace("tiny_choice", name).replace(
            "test_split: test", "test_split: test\nfewshot_split: test\ntag: subjects"
        )
        (tmp_path / f"{name}.yaml").write_text(text.replace("choice.jsonl", str(directory / "choice.jsonl")))
    (tmp_path / "all.yaml").write_text(
        "group: all\ntask: [subjects]\naggregate_metric_list:\n  - metric: acc\n    weight_by_size: true\n"
    )
    first, again = (Harness(tmp_path).load("all", Choice(shots=2)) for _ in range(2))
    assert [t.sha256 for t in first] == [t.sha256 for t in again]
    assert [(t.name, t.items, t.chance) for t in first] == [("all", 40, pytest.approx(1 / 3))]
    [asked] = {r.context.count("the ") for t in first for r in t.requests if isinstance(r, Continuation)}
    assert asked == 3 * 2  # two examples and the question
    [bare] = Harness(tmp_path).load("all", Choice())
    assert bare.sha256 != first[0].sha256 and bare.judge_sha256 != first[0].judge_sha256
