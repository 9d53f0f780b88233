"""The sweep's stage that scores infill problems and conversations: batches in turn, the reference first in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.core.checked import FileNote, read_checked, tell_damage, write_checked
from bench.core.errors import BenchError, MeasurementError
from bench.core.files import file_sha256, short_hash
from bench.engine.memory import machine_memory
from bench.engine.reference_logits import ReferenceLogits
from bench.execute.content import Content
from bench.measures.plan import File, Part, Plan
from bench.measures.problems.jobs import EncodeJob, EncodeResult, ProblemResult, SolveJob
from bench.measures.problems.judging import Judging, judged_by
from bench.measures.problems.records import ProblemRecord, ProblemSetIdentity
from bench.measures.problems.runs import problems_of
from bench.measures.problems.sets import CHAT, CODE, FIM, KINDS, ProblemSet, problem_set
from bench.records.run import Run
from bench.records.store import RunStore
from bench.workbench.work import Work

#: Part of every key: raise it when problems are turned into other tokens.
_ENCODING = 3
#: Tokens that a problem may have with its completion, where the model's context allows it.
_CONTEXT = 8192


@dataclass(frozen=True)
class Encoded:
    """A set as it is asked of one model. identity: what its figures belong to; problems: as they are before that; content: the
    encoded set; rows: scored tokens of the largest batch."""

    identity: ProblemSetIdentity
    problems: ProblemSet
    content: Content
    batches: int
    rows: int

    @property
    def label(self) -> str:
        return {FIM: "Infill problems", CODE: "Code completion", CHAT: "Conversations"}[self.identity.problem_kind]


def encoded_sets(named: Sequence[str], work: Work, *, assistant_only: bool) -> list[Encoded]:
    """The sets, encoded for the reference's vocabulary. What the model lacks is told, and that set left out.

    Raises BenchError for a set that cannot be read.
    """
    if assistant_only and not any(problem_set(n).kind == CHAT for n in named):
        raise BenchError("--assistant-only says how conversations are scored; ask for them with --kinds chat")
    reference = work.reference
    template = reference.chat_template
    found = []
    for name in named:
        wanted = problem_set(name)
        only = assistant_only and wanted.kind == CHAT
        asked = [wanted.sha256, reference.info.vocabulary_sha256, wanted.kind == CHAT and template, only]
        asked += [CODE] if wanted.kind == CODE else []  # of the files that infill problems have
        context = min(_CONTEXT, reference.info.context_length or _CONTEXT)
        key = short_hash(_ENCODING, work.library.binding, context, *asked)
        identity = ProblemSetIdentity(
            name=wanted.name,
            problem_kind=wanted.kind,
            sha256=wanted.sha256,
            assistant_only=only,
            key=key,
            judge=judged_by(wanted),
        )
        job = EncodeJob(
            model=work.model,
            problems=name if name in KINDS else work.executor.hold(Path(name), file_sha256(Path(name))),
            template=template,
            context=context,
            assistant_only=only,
            out=Content(name=f"tokens/problems-{key}.json"),
        )
        try:
            encoded = _encoded(job, work)
        except MeasurementError:
            raise
        except BenchError as e:
            work.reporter.warn(f"{reference.info.name}: {e}")
            continue
        if encoded.left_out:
            problem, why = next(iter(encoded.left_out.items()))
            work.reporter.warn(
                f"{name}: {len(encoded.left_out)} of {len(wanted.problems)} are left out, such as {problem}: {why}"
            )
        found.append(Encoded(identity, wanted, job.out, encoded.batches, encoded.rows))
    return found


def _encoded(job: EncodeJob, work: Work) -> EncodeResult:
    out = work.executor.site.path(job.out)
    note = out.with_suffix(".note")
    kept = read_checked(note, _EncodedNote, work.reporter.warn)
    if kept is not None and out.is_file():
        if file_sha256(out) == kept.sha256:
            return kept.result
        tell_damage(out, work.reporter.warn)
    result = work.executor.do(job)
    write_checked(note, _EncodedNote(sha256=file_sha256(out), result=result))
    return result


class _EncodedNote(FileNote):
    """Of an encoded set that is kept."""

    result: EncodeResult


@dataclass(frozen=True)
class Problems:
    """Sets of problems, scored and completed by all files of a plan."""

    plan: Plan
    sets: tuple[Encoded, ...]

    @property
    def title(self) -> str:
        return " and ".join(dict.fromkeys(s.label for s in self.sets)).capitalize()

    def pending(self, run: Run) -> set[str]:
        return {n for s in self.sets for names in self._pending(s, run).values() for n in names}

    def progress(self, run: Run) -> tuple[int, int]:
        total = len(self.plan.names) * sum(s.batches for s in self.sets)
        return total - sum(len(names) for s in self.sets for names in self._pending(s, run).values()), total

    def _pending(self, wanted: Encoded, run: Run) -> dict[int, list[str]]:
        """Files that are still to be scored on a set, by batch."""
        plan, on_record = self.plan, problems_of(run, wanted.identity.key)

        def has(name: str, batch: int) -> bool:
            found = on_record.get(name, {}).get(batch)
            return found is not None and (
                name == plan.reference or name in plan.alone or all(r.kl is not None for r in found.results)
            )

        batches = (b for b in range(wanted.batches) if plan.part.has(index=b))
        missing = {b: [n for n in plan.names if not has(n, b)] for b in batches}
        return {b: left for b, left in missing.items() if left}

    def parts(self, run: Run) -> list[Part]:
        """Batch by batch, of all sets: files of a batch share the reference's logits."""
        batches = {b for s in self.sets for b in self._pending(s, run)}
        return [Part(indices=(b,)) for b in sorted(batches)]

    def check_room(self) -> None:
        """What a set takes is told, and it is left out, when its turn comes: the windows are measured all the same."""

    def measure(self, store: RunStore, files: Mapping[str, File]) -> None:
        """Put the results of every file on record, set by set. A failure costs one batch of one file."""
        judging = Judging(self.plan.work)
        for wanted in self.sets:
            self._solve(wanted, judging, store, files)

    def _solve(self, wanted: Encoded, judging: Judging, store: RunStore, files: Mapping[str, File]) -> None:
        plan, work = self.plan, self.plan.work
        todo = {
            b: there
            for b, names in self._pending(wanted, store.run).items()
            if (there := [n for n in names if n in files])
        }
        # of a batch: as llama.cpp computes them, the rows that are scored, and the system's copy of the reference's
        needed = 3 * ReferenceLogits.n_bytes(wanted.rows, work.reference.info.vocabulary)
        available = machine_memory().available
        if todo and needed > available:
            work.reporter.warn(
                f"{wanted.identity.name}: its longest problems take {needed / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are available; "
                "end other programs or give shorter ones"
            )
            return
        logits = work.executor.site.path(self._logits)
        with work.scratch_files(), work.reporter.steps(wanted.label, sum(map(len, todo.values()))) as steps:
            for batch, names in todo.items():
                logits.unlink(missing_ok=True)
                for name in dict.fromkeys([plan.reference, *names]):
                    steps.name(f"batch {batch + 1} of {wanted.batches}, {name}")
                    is_reference = name == plan.reference
                    compared = not is_reference and name not in plan.alone and logits.exists()
                    job = self._job(wanted, batch, files[name], write=is_reference, compare=compared)
                    try:
                        again = partial(work.executor.do, self._job(wanted, batch, files[plan.reference], write=True))
                        solved = work.do_compared(job, job.reference_logits, again)
                    except BenchError as e:
                        work.reporter.warn(f"{name}, {wanted.label.lower()}, batch {batch + 1}: {e}")
                    else:
                        if name in names:
                            results = judging.judged(wanted.problems, solved.results)
                            store.append(_record(store.run, name, wanted, batch, results))
                    if name in names:
                        steps.done()

    def _job(self, wanted: Encoded, batch: int, file: File, *, write: bool = False, compare: bool = False) -> SolveJob:
        """One batch of a file; its logits are kept, or compared with those that are."""
        return SolveJob(
            model=file.content,
            problems=wanted.content,
            batch=batch,
            threads=self.plan.work.threads,
            write_logits=self._logits if write else None,
            reference_logits=self._logits if compare else None,
        )

    @property
    def _logits(self) -> Content:
        """The reference's logits of the batch that is under way."""
        return self.plan.work.scratch("problems.logits")


def _record(run: Run, name: str, wanted: Encoded, batch: int, results: tuple[ProblemResult, ...]) -> ProblemRecord:
    return ProblemRecord(
        run=run.header.id,
        recipe=name,
        sha256=run.files[name].sha256,
        problem_set=wanted.identity,
        batch=batch,
        batches=wanted.batches,
        results=results,
    )
