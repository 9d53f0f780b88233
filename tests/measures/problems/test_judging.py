"""Verdicts on completions: by tree-sitter's grammars and by doctests, put into results, and into the table."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from bench.measures.problems import grammars, sandbox, tables
from bench.measures.problems.doctests import doctests_of
from bench.measures.problems.jobs import JudgeJob, JudgeResult, ProblemResult
from bench.measures.problems.judge import judge
from bench.measures.problems.judging import Judging
from bench.measures.problems.records import ProblemRecord, ProblemSetIdentity
from bench.measures.problems.sets import FIM, Infill, ProblemSet, problem_set
from bench.statistics.estimates import change_of_share

PYTHON = Infill(
    "own-1", "python", 'def twice(x):\n    """\n    >>> twice(2)\n    4\n    """\n    return ', "2 * x", "\n"
)
GO = Infill("own-2", "go", "package a\n\nfunc f() int { return ", "1", " }\n")
OTHER = Infill("own-3", "cobol", "ADD ", "1", " TO X.")
PIECE = Infill("own-4", "Python", "return )", "1", "\n")  # does not parse as it is
BROKEN = Infill(
    "own-5", "python", 'def twice(x):\n    """\n    >>> twice(2)\n    5\n    """\n    return ', "2 * x", "\n"
)
OWN = ProblemSet("a/own.jsonl", FIM, "0" * 64, (PYTHON, GO, OTHER, PIECE, BROKEN))


@dataclass
class Site:
    """As much of a Work as judging asks for: jobs are done here, and what is told is kept."""

    told: list[str] = field(default_factory=list)
    jobs: list[JudgeJob] = field(default_factory=list)

    @property
    def executor(self) -> Site:
        return self

    @property
    def reporter(self) -> Site:
        return self

    def warn(self, text: str) -> None:
        self.told.append(text)

    def do(self, job: JudgeJob) -> JudgeResult:
        self.jobs.append(job)
        return judge(job, cast(Any, None), lambda _: None)


def result(name: str, completion: str | None, **verdicts: bool | None) -> ProblemResult:
    return ProblemResult(
        name=name, group="g", tokens=1, nll=1.0, correct=0, kl=0.1, completion=completion, expected="x", **verdicts
    )


def verdicts(site: Site, *completions: tuple[Infill, str]) -> list[tuple[bool | None, bool | None]]:
    found = Judging(cast(Any, site)).judged(OWN, [result(p.name, c) for p, c in completions])
    return [(r.parses, r.passes) for r in found]


def test_every_fixed_problem_can_be_judged() -> None:
    problems = problem_set("fim")
    for problem in problems.problems:
        assert isinstance(problem, Infill)
        language = grammars.language(problem.group)
        assert language and grammars.parses(language, problem.prefix + problem.middle + problem.suffix), problem.name
        if language != "shell":  # whose quotes may hold anything
            assert not grammars.parses(language, problem.prefix + "= ) ] }" + problem.suffix), problem.name


def test_what_is_missing_is_an_error() -> None:
    assert grammars.parses("java", "class A { void f() { int x = 1; } }")
    assert not grammars.parses("java", "class A { void f() { int x = 1 } }")
    assert grammars.language(" C++ ") == "cpp" and grammars.language("ts") == "typescript"
    assert grammars.language("c") is None and grammars.language("other") is None


#: What a model might well write into the gap.
WRONG = {
    "python-binary-search": ["(low + high) / 2", "(low + high) // 2 + 1"],
    "python-cron-field": ["int(first_text), highest", "first_text, last_text"],
    "python-household-ledger": ['elif direction == "out":\n            totals.expenses = amount'],
    "python-lru-cache": ["return None", "self.misses += 1"],
    "python-polygon-area": ["x0 * y0 - x1 * y1", "(x1 - x0) * (y1 - y0)"],
    "python-task-order": ["waiting_for[follower] -= 1", "ready.append(follower)"],
}


@pytest.mark.skipif(sys.platform != "linux", reason="no code is run elsewhere")
def test_doctests_tell_right_from_wrong_in_every_fixed_python_problem() -> None:
    problems = problem_set("fim")
    python = [p for p in problems.problems if isinstance(p, Infill) and p.group == "python"]
    assert {p.name for p in python} == WRONG.keys()
    for problem in python:
        doctests = doctests_of(problem, problems)
        assert sandbox.passes(problem.prefix + problem.middle + problem.suffix, doctests), problem.name
        for wrong in WRONG[problem.name]:
            completed = problem.prefix + wrong + problem.suffix
            ast.parse(completed)  # which is wrong in what it does alone
            assert not sandbox.passes(completed, doctests, sandbox.Limits(cpu=1)), (problem.name, wrong)


@pytest.mark.skipif(sys.platform != "linux", reason="no code is run elsewhere")
def test_verdicts() -> None:
    site = Site()
    assert verdicts(site, (PYTHON, "x + x"), (GO, "2"), (OTHER, "2"), (PIECE, "2"), (BROKEN, "5")) == [
        (True, True),
        (True, None),
        (None, None),  # no grammar
        (None, None),  # its own file does not parse
        (True, None),  # its own file does not pass
    ]
    assert verdicts(site, (PYTHON, "3 * x"), (GO, "(")) == [(True, False), (False, None)]
    assert verdicts(site, (PYTHON, "2 * )")) == [(False, False)]
    assert not site.told


def test_a_problem_is_checked_once() -> None:
    site = Site()
    judging = Judging(cast(Any, site))
    for completion in "123":
        judging.judged(OWN, [result(GO.name, completion)])
    assert ["".join(f.text for f in j.files).count("return 1 ") for j in site.jobs] == [1, 1, 0, 0]
    assert judging.judged(OWN, [result(GO.name, None)]) == (result(GO.name, None),)


def test_without_the_extra_one_line_tells_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammars, "installed", lambda: False)
    site = Site()
    judging = Judging(cast(Any, site))
    for _ in range(2):
        assert judging.judged(OWN, [result(GO.name, "2")]) == (result(GO.name, "2"),)
    assert len(site.told) == 1 and "pip install 'dynamicgate-bench[code]'" in site.told[0] and not site.jobs


def test_where_no_code_can_be_run_files_are_parsed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "refusal", lambda: "no limits here")
    site = Site()
    assert verdicts(site, (PYTHON, "3 * x"), (BROKEN, "1")) == [(True, None), (True, None)]
    assert site.told == ["no limits here"]


# --- figures ------------------------------------------------------------------------------------------------------------


def test_change_of_a_share_by_the_textbook() -> None:
    """Newcombe 1998, table III: 36 units have both, 12 and 2 one of them, none neither."""
    after = np.array([True] * 48 + [False] * 2)
    before = np.array([True] * 36 + [False] * 12 + [True] * 2)
    found = change_of_share(after, before)
    assert found.low is not None and found.high is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    assert found.excludes(0) and found.p_value(0) == pytest.approx(0.01, abs=0.01)
    same = change_of_share(before, before)
    assert same.value == 0 and same.low is not None and same.low < 0
    assert not change_of_share(after[:3], before[:3]).has_interval


def test_only_what_is_judged_for_both_is_compared() -> None:
    reference = [result(str(i), "x", parses=i < 8 or None, passes=None) for i in range(10)]
    this = [result(str(i), "x", parses=i % 2 == 0 if i != 1 else None, passes=None) for i in range(10)]
    found = tables.scores(this, reference)
    assert found.parses is not None and found.parses.value == pytest.approx(5 / 9)
    assert found.parses_change is not None and found.parses_change.value == pytest.approx(4 / 7 - 1)
    assert found.passes is None and found.passes_change is None


IDENTITY = ProblemSetIdentity(name="fim", problem_kind="fim", sha256="0", assistant_only=False, key="k")
OLD = '{"name":"a","group":"go","tokens":2,"nll":1.0,"correct":0,"kl":0.1,"same_top":1,"completion":"x","expected":"x"}'


def table(monkeypatch: pytest.MonkeyPatch, of_file: list[ProblemResult], of_reference: list[ProblemResult]) -> Any:
    found = {"F16": of_reference, "Q4": of_file}
    monkeypatch.setattr(tables, "problem_results", lambda run, problems: found)
    run = cast(Any, type("Run", (), {"reference": "F16"}))
    return tables.problem_table(run, IDENTITY), tables.key(run, IDENTITY)


def test_records_without_verdicts_give_the_table_that_they_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    old = [ProblemResult.model_validate_json(OLD.replace('"a"', f'"{i}"')) for i in range(8)]
    made, key = table(monkeypatch, old, old)
    assert list(made.columns) == [
        "Recipe",
        "PPL [95 %]",
        "vs reference",
        "KL [95 %]",
        "Exact [95 %]",
        "Similarity [95 %]",
        "Similarity vs reference",
    ]
    assert key == tables.GAP_KEY.format(what=tables.INFILL.format(n=8)) + f"\n- {tables.TOGETHER}"
    record = ProblemRecord.model_validate_json(
        '{"kind":"problems","run":"r","recipe":"Q4","sha256":"0","problem_set":'
        f'{IDENTITY.model_dump_json()},"batch":0,"batches":1,"results":[{OLD}]}}'
    )
    assert record.results[0].parses is None and record.results[0].passes is None


def test_the_table_has_columns_for_what_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = [result(str(i), "x", parses=True) for i in range(40)]
    made, key = table(monkeypatch, [result(str(i), "x", parses=i < 20) for i in range(40)], reference)
    assert list(made.columns)[-2:] == ["Parses [95 %]", "Parses vs reference"]
    assert list(made["Parses [95 %]"]) == ["100.0% [91.2%, 100.0%]", "50.0% [35.2%, 64.8%]"]
    assert made["Parses vs reference"][1].startswith("-50.0 [") and made["Parses vs reference"][1].endswith("(worse)")
    assert tables.PARSES_KEY in key and tables.PASSES_KEY not in key
    python = [result(str(i), "x", parses=True, passes=True) for i in range(6)]
    made, key = table(monkeypatch, python, python)
    assert list(made.columns)[-2:] == ["Doctests [95 %]", "Doctests vs reference"] and tables.PASSES_KEY in key
    assert made["Doctests vs reference"][1].endswith("(no difference shown)")
