"""Verdicts on completions: of which problems they can be given, and putting them into results.

A problem is judged only by what its own file, with the right middle, stands up to. That is checked once a problem, before the first
completion of it is judged.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from bench.core.errors import BenchError
from bench.measures.problems import grammars, sandbox
from bench.measures.problems.doctests import checks_sha256, doctests_of
from bench.measures.problems.jobs import CompletedFile, JudgeJob, ProblemResult, Verdict
from bench.measures.problems.sets import CHAT, CODE, FIM, Infill, ProblemSet
from bench.workbench.work import Work


def judged_by(problems: ProblemSet) -> str:
    """What verdicts on a set depend on beside the completions: parser, grammars, and the doctests that lie beside the fixed set; empty
    where nothing is judged."""
    if problems.kind == CHAT or not grammars.installed():
        return ""
    if problems.name not in (FIM, CODE):
        return grammars.versions()
    try:
        return f"{grammars.versions()}; doctests beside the set, SHA-256 {checks_sha256()}"
    except BenchError:  # a file of them was changed, which is told when it is needed
        return grammars.versions()


@dataclass(frozen=True)
class _Judged:
    """A problem and what completions of it are judged by. language: None where parsing says nothing; doctests: empty for none."""

    problem: Infill
    language: str | None
    doctests: tuple[str, ...]

    def file(self, middle: str) -> CompletedFile:
        text = self.problem.prefix + middle + self.problem.suffix
        return CompletedFile(language=self.language, text=text, doctests=self.doctests)

    def that_stands(self, verdict: Verdict) -> _Judged:
        """The same without what the file with the right middle fails."""
        return _Judged(self.problem, self.language if verdict.parses else None, self.doctests if verdict.passes else ())


@dataclass(frozen=True)
class Judging:
    """Gives verdicts. What cannot be judged is told once, and results are left as they are."""

    work: Work
    _known: dict[tuple[str, str], _Judged] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def judged(self, problems: ProblemSet, results: Sequence[ProblemResult]) -> tuple[ProblemResult, ...]:
        """Results with verdicts on the completions, where there are any and they can be judged."""
        if not any(isinstance(p, Infill) for p in problems.problems):
            return tuple(results)
        if not grammars.installed():
            self._tell(
                "infill completions are not judged, since tree-sitter is not installed; to see whether they parse and pass doctests, "
                "install it with: python -m pip install 'dynamicgate-bench[code]'"
            )
            return tuple(results)
        try:
            verdicts = self._verdicts(problems, {r.name: r.completion for r in results if r.completion is not None})
        except BenchError as e:  # figures of the measurement are there all the same
            self._tell(f"infill completions are not judged: {e}")
            return tuple(results)
        return tuple(
            r.model_copy(update={"parses": v.parses, "passes": v.passes}) if (v := verdicts.get(r.name)) else r
            for r in results
        )

    def _verdicts(self, problems: ProblemSet, completions: dict[str, str]) -> dict[str, Verdict]:
        """Verdicts by name of the problem, of those that anything is said about."""
        self._check(problems, completions)
        known = {name: self._known[problems.sha256, name] for name in completions}
        asked = {n: k.file(completions[n]) for n, k in known.items() if k.language or k.doctests}
        return dict(zip(asked, self._judge(list(asked.values())), strict=True))

    def _check(self, problems: ProblemSet, names: Collection[str]) -> None:
        """Find out what problems of these names can be judged by, where that is not known yet."""
        new = [
            self._asked(p, problems)
            for p in problems.problems
            if isinstance(p, Infill) and p.name in names and (problems.sha256, p.name) not in self._known
        ]
        verdicts = self._judge([j.file(j.problem.middle) for j in new])
        for judged, verdict in zip(new, verdicts, strict=True):
            self._known[problems.sha256, judged.problem.name] = judged.that_stands(verdict)

    def _asked(self, problem: Infill, problems: ProblemSet) -> _Judged:
        language = grammars.language(problem.group)
        doctests = doctests_of(problem, problems) if language == "python" else ()
        if doctests and (why := sandbox.refusal()):
            self._tell(why)
            doctests = ()
        return _Judged(problem, language, doctests)

    def _judge(self, files: list[CompletedFile]) -> Sequence[Verdict]:
        return self.work.executor.do(JudgeJob(files=tuple(files))).verdicts if files else ()

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self.work.reporter.warn(what)
