"""Whether completed files parse and their doctests pass, in a worker process: a parser that crashes costs one batch its verdicts."""

from __future__ import annotations

from bench.execute.content import Site
from bench.execute.job import Share
from bench.measures.problems import grammars, sandbox
from bench.measures.problems.jobs import CompletedFile, JudgeJob, JudgeResult, Verdict


def judge(job: JudgeJob, site: Site, progress: Share) -> JudgeResult:
    """Judge file by file. Raises BenchError where no code can be run."""
    verdicts = []
    for i, file in enumerate(job.files):
        verdicts.append(_verdict(file))
        progress((i + 1) / len(job.files))
    return JudgeResult(verdicts=tuple(verdicts))


def _verdict(file: CompletedFile) -> Verdict:
    return Verdict(
        parses=None if file.language is None else grammars.parses(file.language, file.text),
        passes=sandbox.passes(file.text, file.doctests) if file.doctests else None,
    )
