"""Files of llama-perplexity's tasks: how they are read, which questions a limit draws, and that what the tool prints comes out."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.measures.tasks.jobs import Alternative
from bench.measures.tasks.options import Asked
from bench.measures.tasks.perplexity_files import _drawn, file_task
from bench.measures.tasks.several import put_to_files
from bench.measures.tasks.sources import tasks_asked
from bench.workbench.options import Options

WORDS = [
    "tree",
    "river",
    "stone",
    "cloud",
    "lamp",
    "bread",
    "horse",
    "window",
    "garden",
    "music",
    "paper",
    "snow",
    "bell",
    "ship",
    "candle",
    "bridge",
]


def hellaswag(n: int) -> str:
    rng = random.Random(5)
    lines = []
    for _ in range(n):
        lines += [" ".join(rng.choices(WORDS, k=6)), str(rng.randrange(4))]
        lines += [" ".join(rng.choices(WORDS, k=rng.randint(2, 6))) for _ in range(4)]
    return "\n".join(lines) + "\n"


def winogrande(n: int) -> str:
    rng = random.Random(6)
    rows = []
    for i in range(n):
        one, other = rng.sample(WORDS, 2)
        sentence = f"{' '.join(rng.choices(WORDS, k=5))} _ {' '.join(rng.choices(WORDS, k=6))}"
        sentence = f'"{sentence}, and so on."' if i % 2 else sentence
        rows.append(f"{i},{sentence},{one},{other},{rng.randint(1, 2)}")
    return "\n".join(rows) + "\n"


def multiple_choice(n: int) -> bytes:
    rng = random.Random(7)

    def text(s: str) -> bytes:
        return struct.pack("<I", len(s)) + s.encode()

    questions = []
    for _ in range(n):
        count = rng.randint(2, 5)
        right = rng.randrange(count)
        answers = b"".join(text(" ".join(rng.choices(WORDS, k=rng.randint(1, 4)))) for _ in range(count))
        labels = b"".join(struct.pack("<i", int(i == right)) for i in range(count))
        empty = struct.pack("<I", 0)
        questions.append(text(" ".join(rng.choices(WORDS, k=7))) + struct.pack("<I", count) + answers + labels + empty)
    head, starts = struct.pack("<I", n), []
    at = 4 + 4 * n
    for q in questions:
        starts.append(at)
        at += len(q)
    return head + struct.pack(f"<{n}I", *starts) + b"".join(questions)


def write_files(directory: Path, n: int = 40) -> None:
    (directory / "hellaswag.txt").write_text(hellaswag(n))
    (directory / "winogrande.csv").write_text(winogrande(n))
    (directory / "choices.bin").write_bytes(multiple_choice(n))


#: What llama-perplexity of llama.cpp, built from the source of llama-cpp-python 0.3.36 with AVX2, printed last for the tiny model and these files, 40
#: questions of each, and for a limit of 13: -m tiny.gguf -t 1 -c 512 -f hellaswag.txt --hellaswag --hellaswag-tasks 40, --winogrande, and with -np 16
#: -kvu -bf choices.bin, --multiple-choice.
PRINTED: dict[tuple[str, int | None], float] = {
    ("hellaswag:hellaswag.txt", None): 27.5,
    ("hellaswag:hellaswag.txt", 13): 46.15384615,
    ("winogrande:winogrande.csv", None): 69.2308,
    ("winogrande:winogrande.csv", 13): 76.9231,
    ("multiple-choice:choices.bin", None): 32.5,
    ("multiple-choice:choices.bin", 13): 23.07692308,
}


@pytest.mark.parametrize(("asked", "limit"), PRINTED)
def test_the_tool_prints_the_same(asked: str, limit: int | None, tiny: Path, cache: Path, tmp_path: Path) -> None:
    write_files(tmp_path)
    form, _, name = asked.partition(":")
    tasks = tasks_asked(Asked(tasks=(f"{form}:{tmp_path / name}",), limit=limit))
    [put], _ = put_to_files(Options(cache=cache, threads=1), Reporter(), [str(tiny)], tasks)
    [score] = put.scores.values()
    assert 100 * score.accuracy.value == pytest.approx(PRINTED[asked, limit], abs=5e-5)


def test_questions_are_read_as_they_stand(tmp_path: Path) -> None:
    write_files(tmp_path, 3)
    task = file_task("hellaswag", str(tmp_path / "hellaswag.txt"), None)
    lines = (tmp_path / "hellaswag.txt").read_text().splitlines()
    assert task.items == 3 and task.chance == 0.25 and isinstance(task.requests[5], Alternative)
    assert task.requests[5].texts == tuple(f"{lines[6]} {e}" for e in lines[8:12]) and task.requests[5].index == 1
    task = file_task("winogrande", str(tmp_path / "winogrande.csv"), None)
    assert isinstance(task.requests[2], Alternative) and task.requests[2].heads is not None
    assert task.requests[2].texts[0].startswith(task.requests[2].heads[0]) and '"' not in task.requests[2].texts[0]
    assert task.requests[2].texts[0].endswith(", and so on.")
    assert file_task("multiple-choice", str(tmp_path / "choices.bin"), None).items == 3


@pytest.mark.parametrize("form", ["hellaswag", "winogrande"])
def test_a_limit_draws_each_question_once(form: str) -> None:
    assert sorted(_drawn(form, 50, 50)) == list(range(50)) and len(set(_drawn(form, 50, 7))) == 7


@pytest.mark.parametrize(
    ("form", "data", "said"),
    [
        ("hellaswag", b"a\n1\nb\n", "has 3 lines; a question of hellaswag has six"),
        ("hellaswag", b"a\nfour\nb\nc\nd\ne\n", ":2: 'four' is no number of an ending"),
        ("hellaswag", b"\xff", "is no UTF-8 text"),
        ("hellaswag", b"", "holds no question"),
        ("winogrande", b"0,no blank,a,b,1\n\n", ":1: its sentence has no _"),
        ("winogrande", b"0,a _ b,a,b,3\n\n", ":1: '3' is no number of a choice"),
        ("winogrande", b"a _ b\n\n", ":1: a question of winogrande is number,sentence"),
        ("multiple-choice", b"abc", "ends in the middle of a question"),
        ("multiple-choice", b"\xff\xff\xff\xff" * 9, "ends in the middle"),
        ("multiple-choice", struct.pack("<II", 1, 8) + struct.pack("<I", 1) + b"q" + struct.pack("<I", 10**9), "with 1000000000 answers is none"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused_in_a_line(form: str, data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(BenchError, match=said) as refused:
        file_task(form, str(tmp_path / "f"), None)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(BenchError, match="--tasks hellaswag:/nowhere: cannot be read"):
        file_task("hellaswag", "/nowhere", None)
