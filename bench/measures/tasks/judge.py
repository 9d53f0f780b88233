"""Judging answers as a task of lm-evaluation-harness does: its filters, its metrics, and how far choices are apart."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from numbers import Real
from typing import Any

from bench.core.formats import in_one_line
from bench.measures.tasks.jobs import Probability, Written
from bench.measures.tasks.questions import Answer, Judged

#: Characters of a name in the records.
_LONGEST = 500


class Judge:
    """Judges answers as the task does."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self._instances: dict[int, list[Any]] = {}
        self.documents: dict[int, Any] = {}
        for instance in task.instances:
            self._instances.setdefault(instance.doc_id, []).append(instance)
            self.documents[instance.doc_id] = instance.doc
        for of in self._instances.values():
            of.sort(key=lambda i: i.idx)

    @property
    def _is_choice(self) -> bool:
        """Whether one of several answers is to be chosen, and the library judges which: a task's own function may make anything of probabilities."""
        return bool(self._task.OUTPUT_TYPE == "multiple_choice") and not callable(self._task.config.process_results)

    @cached_property
    def chance(self) -> float | None:
        """What guessing is worth: mean share of choices that are right; where nothing is chosen what the task's metadata say, such as the share
        of questions that any text is right for, and None without."""
        if not self._is_choice:
            told = (self._task.config.metadata or {}).get("chance")
            return float(told) if isinstance(told, int | float) and 0 <= told < 1 else None
        shares = [len(right) / n for n, right in map(self._choices, self.documents.values())]
        return sum(shares) / len(shares)

    @cached_property
    def sha256(self) -> str:
        """Of how it judges: the task's settings, the code of its own functions among them, without where its files lie."""
        told = {k: v for k, v in self._task.dump_config().items() if k not in ("dataset_kwargs", "metadata")}
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode("utf-8", "replace")).hexdigest()

    def __call__(self, answers: Sequence[Answer | str]) -> list[Judged]:
        return in_range(self._all(answers))

    def _all(self, answers: Sequence[Answer | str]) -> list[Judged]:
        given = iter(answers)
        failures: dict[int, str] = {}
        ended: dict[int, bool] = {}
        for instance in self._task.instances:
            instance.resps, instance.filtered_resps = [], {}
            for _ in range(instance.repeats or 1):
                answer = next(given)
                if isinstance(answer, str):
                    failures[instance.doc_id] = answer
                elif isinstance(answer, Written):
                    ended[instance.doc_id] = ended.get(instance.doc_id, True) and answer.end in ("own", "text")
                instance.resps.append(_response(answer, instance.request_type))
        try:
            with quiet():
                self._task.apply_filters()
        except Exception as e:
            return [self._judged(n, {}, None, None, f"its filters fail: {why(e)}") for n in self._instances]
        return [
            self._judged(n, {}, None, None, failures[n]) if n in failures else self._judge(n, of, ended.get(n))
            for n, of in self._instances.items()
        ]

    def _judge(self, n: int, instances: list[Any], ended: bool | None) -> Judged:
        doc, scores = self.documents[n], dict[str, float]()
        filters = list(instances[0].filtered_resps)
        try:
            for filtered in filters:
                with quiet():
                    found = self._task.process_results(doc, [i.filtered_resps[filtered] for i in instances])
                label = "" if len(filters) == 1 else f", {filtered}"
                scores |= {f"{m}{label}"[:_LONGEST]: float(v) for m, v in found.items() if _is_number(v)}
            margin = self._margin(doc, instances)
        except Exception as e:  # a metric that takes some answers and not others
            return self._judged(n, {}, None, ended, why(e))
        return self._judged(n, scores, margin, ended, None)

    def _judged(
        self, n: int, scores: Mapping[str, float], margin: float | None, ended: bool | None, failure: str | None
    ) -> Judged:
        doc = self.documents[n]
        group = doc.get("kind") if isinstance(doc, Mapping) else None
        task = self._task.config.task
        named = group[:_LONGEST] if group and isinstance(group, str) else task
        return Judged(f"{task}/{n}", named, scores, margin, ended, failure)

    def _choices(self, doc: Any) -> tuple[int, set[int]]:
        """How many choices a question has, and which are right."""
        choices = self._task.doc_to_choice(doc)
        gold = self._task.doc_to_text(doc) if self._task.multiple_input else self._task.doc_to_target(doc)
        if isinstance(gold, str):
            gold = choices.index(gold) if gold in choices else None
        told = gold if isinstance(gold, list) else [gold]
        return len(choices), {g for g in told if isinstance(g, int) and 0 <= g < len(choices)}

    def _margin(self, doc: Any, instances: list[Any]) -> float | None:
        """Of the sums that plain accuracy compares; where several choices are right, of the best of them."""
        if not self._is_choice:
            return None
        n_choices, right = self._choices(doc)
        sums = [i.resps[0][0] for i in instances[:n_choices]]
        wrong = [s for n, s in enumerate(sums) if n not in right]
        return float(max(sums[g] for g in right) - max(wrong)) if right and wrong else None


def _response(answer: Answer | str, kind: str) -> Any:
    """An answer as the library's tasks take it."""
    if isinstance(answer, Probability):
        return answer.logarithm if kind == "loglikelihood_rolling" else (answer.logarithm, answer.greedy)
    if isinstance(answer, Written):
        return answer.text
    return "" if kind == "generate_until" else (0.0 if kind == "loglikelihood_rolling" else (0.0, False))


def _is_number(value: Any) -> bool:
    """Numbers of numpy among them."""
    return isinstance(value, Real) or type(value).__name__ == "bool_"


def in_range(judged: Sequence[Judged]) -> list[Judged]:
    """The same without metrics that are no scores: of which some question has a value beyond 0 to 1."""
    beyond = {m for j in judged for m, v in j.scores.items() if not 0 <= v <= 1}
    kept = ({m: v for m, v in j.scores.items() if m not in beyond} for j in judged)
    return [
        replace(j, scores=scores, failure=j.failure or (None if scores else _NO_SCORE))
        for j, scores in zip(judged, kept, strict=True)
    ]


#: Why a question without a score has none.
_NO_SCORE = "the task has no figure from 0 to 1 for a question"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing that libraries print of their own: progress and hints of a program that is not this one."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


#: What of an error tells that a data set was not reached.
_UNREACHED = (
    "ConnectionError",
    "OfflineModeIsEnabled",
    "LocalEntryNotFoundError",
    "ConnectError",
    "DatasetNotFoundError",
)


def why(error: Exception) -> str:
    """An error of the library's in a line, with the remedy where it is one of the usual ones."""
    said = in_one_line(str(error))[:300] or type(error).__name__
    if any(type(e).__name__ in _UNREACHED for e in _chain(error)):
        return f"its data set cannot be reached ({said}); give it as a file with --task-path"
    return said


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
