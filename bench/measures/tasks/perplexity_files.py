"""Files of llama-perplexity's tasks, judged as it judges them: `hellaswag:FILE`, `winogrande:FILE`, `multiple-choice:FILE`.

    hellaswag         six lines a question: the context, the number of the right ending (0 to 3), four endings
    winogrande        a line a question: number,sentence with _,choice,choice,right choice (1 or 2)
    multiple-choice   binary: questions with any number of answers, of which some are right

A text's score is the mean logarithm of the probabilities of its tokens from where the texts of a question differ. With a limit the same questions
are drawn as by the tool, which draws them with the Mersenne twister seeded with 1. One thing is not as there: where only a word or two follow a choice in
`winogrande`, the tool takes the first probability of the second choice out of the wrong place (a FIXME in its source); here it is the right one. As
there, the last line of a winogrande file counts only if an empty line follows it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.core.errors import BenchError
from bench.measures.tasks.jobs import Alternative, Probability
from bench.measures.tasks.questions import Answer, Judged, Task

#: No file has answers of more choices, and the tool reads no more.
_MOST_CHOICES = 100


@dataclass(frozen=True)
class _Question:
    """texts: one of which is right; right: numbers of those; heads: see jobs.Alternative."""

    texts: tuple[str, ...]
    right: frozenset[int]
    heads: tuple[str, ...] | None = None


def file_task(form: str, path: str, limit: int | None) -> Task:
    """The questions of a file. Raises BenchError, with where it stands, for what is none."""
    try:
        data = Path(path).read_bytes()
    except OSError as e:
        raise BenchError(f"--tasks {form}:{path}: cannot be read ({e.strerror}); check the name") from e
    questions = FORMS[form](data, path)
    if not questions:
        raise BenchError(f"{path}: holds no question of --tasks {form}")
    if limit is not None and limit < len(questions):
        questions = [questions[i] for i in _drawn(form, len(questions), limit)]
    requests = tuple(Alternative(texts=q.texts, index=i, heads=q.heads) for q in questions for i in range(len(q.texts)))
    metric = "acc" if form == "winogrande" else "acc_norm"
    return Task(
        name=f"{form}, {Path(path).name}",
        asked=f"{form}:{path}",
        source="file of llama-perplexity",
        sha256=hashlib.sha256(data + str(limit).encode()).hexdigest(),
        requests=requests,
        items=len(questions),
        chance=sum(len(q.right) / len(q.texts) for q in questions) / len(questions),
        settings="",
        judge=lambda answers: _judged(form, metric, questions, answers),
    )


def _judged(form: str, metric: str, questions: Sequence[_Question], answers: Sequence[Answer | str]) -> list[Judged]:
    found: list[Judged] = []
    given = iter(answers)
    for n, q in enumerate(questions):
        own = [next(given) for _ in q.texts]
        scores = [a.logarithm / a.tokens for a in own if isinstance(a, Probability)]
        if len(scores) < len(own):
            why = next(str(a) for a in own if not isinstance(a, Probability))
            found.append(Judged(str(n), form, {}, failure=why))
            continue
        # of equal scores the first one, but the second of two sentences
        best = scores.index(max(scores)) if q.heads is None else int(not scores[0] > scores[1])
        wrong = [s for i, s in enumerate(scores) if i not in q.right]
        margin = max(scores[i] for i in q.right) - max(wrong) if wrong and q.right else None
        found.append(Judged(str(n), form, {metric: float(best in q.right)}, margin))
    return found


def _lines(data: bytes, path: str) -> list[str]:
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as e:
        raise BenchError(f"{path}: is no UTF-8 text (byte {e.start}); convert it") from e
    return lines[:-1] if lines[-1] == "" else lines


def _hellaswag(data: bytes, path: str) -> list[_Question]:
    lines, found = _lines(data, path), list[_Question]()
    if len(lines) % 6:
        raise BenchError(
            f"{path}: has {len(lines)} lines; a question of hellaswag has six: context, number of the right ending, four endings"
        )
    for at in range(0, len(lines), 6):
        context, right, *endings = lines[at : at + 6]
        if right.strip() not in ("0", "1", "2", "3"):
            raise BenchError(f"{path}:{at + 2}: {right[:40]!r} is no number of an ending, which are 0 to 3")
        found.append(_Question(tuple(f"{context} {e}" for e in endings), frozenset([int(right)])))
    return found


def _winogrande(data: bytes, path: str) -> list[_Question]:
    found: list[_Question] = []
    lines = _lines(data, path)
    if lines and lines[-1].strip():
        lines.pop()  # the tool strips a text's last line feed, and then does not see this line's end
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        sentence, one, other, right = _cells(line, f"{path}:{number}")
        first, blank, second = sentence.partition("_")
        if not blank or right not in ("1", "2"):
            what = f"{right[:40]!r} is no number of a choice, which are 1 and 2" if blank else "its sentence has no _"
            raise BenchError(f"{path}:{number}: {what}")
        heads = (first + one, first + other)
        found.append(_Question(tuple(h + second for h in heads), frozenset([int(right) - 1]), heads))
    return found


def _cells(line: str, where: str) -> tuple[str, str, str, str]:
    """Sentence, choices and answer: quotes stand around the sentence only, and a comma within them separates nothing."""
    commas, quoted = list[int](), False
    for i, c in enumerate(line):
        if c == '"':
            quoted = not quoted
        elif c == "," and not quoted and len(commas) < 4:
            commas.append(i)
    if len(commas) < 4:
        raise BenchError(f"{where}: a question of winogrande is number,sentence,choice,choice,answer")
    one, two, three, four = commas[:4]
    sentence = line[one + 1 : two]
    if sentence.startswith('"'):
        sentence = sentence[1:-1]
    return sentence, line[two + 1 : three], line[three + 1 : four], line[four + 1 :].strip()


def _multiple_choice(data: bytes, path: str) -> list[_Question]:
    reader = _Reader(data, path)
    n = reader.number()
    reader.skip(4 * n)  # where each question stands
    found: list[_Question] = []
    for _ in range(n):
        question = reader.text()
        answers, labels = reader.answers()
        reader.answers()  # those of which several may be right, which the tool does not use
        if not question or not all(answers) or len(answers) < 2:
            raise BenchError(f"{path}: question {len(found) + 1} is empty or has no two answers; download it again")
        right = frozenset(i for i, label in enumerate(labels) if label == 1)
        found.append(_Question(tuple(f"{question} {a}" for a in answers), right))
    return found


class _Reader:
    """Numbers and texts of a binary file, in the order of its bytes."""

    def __init__(self, data: bytes, path: str) -> None:
        self._data, self._path, self._at = data, path, 0

    def skip(self, n: int) -> bytes:
        end = self._at + n
        if end > len(self._data):
            raise BenchError(
                f"{self._path}: ends in the middle of a question, or is no file of --multiple-choice; download it again"
            )
        found, self._at = self._data[self._at : end], end
        return found

    def number(self) -> int:
        return int(struct.unpack("<I", self.skip(4))[0])

    def text(self) -> str:
        return self.skip(self.number()).decode("utf-8", "replace")

    def answers(self) -> tuple[list[str], list[int]]:
        n = self.number()
        if n > _MOST_CHOICES:
            raise BenchError(f"{self._path}: a question with {n} answers is none; is it a file of --multiple-choice?")
        texts = [self.text() for _ in range(n)]
        return texts, [self.number() for _ in range(n)]


#: What reads each form.
FORMS: dict[str, Callable[[bytes, str], list[_Question]]] = {
    "hellaswag": _hellaswag,
    "winogrande": _winogrande,
    "multiple-choice": _multiple_choice,
}


def _drawn(form: str, n: int, limit: int) -> list[int]:
    """Numbers of the questions that the tool draws."""
    twister = np.random.RandomState(1)

    def raw() -> int:
        return int(twister.randint(0, 2**32, dtype=np.uint32))

    left, found = list(range(n)), list[int]()
    for _ in range(limit):
        if form == "hellaswag":  # std::uniform_int_distribution of libstdc++: Lemire's method
            at = _below(len(left), raw)
            found.append(left.pop(at))
        else:
            at = int(np.float32(2.0**-32) * np.float32(raw()) * np.float32(len(left)))
            found.append(left[at])
            left[at] = left[-1]
            left.pop()
    return found


def _below(n: int, raw: Callable[[], int]) -> int:
    """A number below n out of numbers of 32 bits (Lemire, Fast random integer generation in an interval, ACM TOMACS 29:1, 2019)."""
    product = raw() * n
    if product % 2**32 < n:
        while product % 2**32 < 2**32 % n:
            product = raw() * n
    return product >> 32
