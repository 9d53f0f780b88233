"""The sweep's stage that scores infill problems and conversations: batches in turn, the reference first in each."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from bench.core.errors import BenchError, MeasurementError
from bench.core.progress import Reporter
from bench.engine.memory import machine_memory
from bench.engine.scoring import ReferenceLogits
from bench.execute.jobs import LibraryInfo
from bench.execute.local import run_job
from bench.gguf_files.header import read_header
from bench.gguf_files.info import complete_or_absent
from bench.measures.problems.jobs import EncodeJob, EncodeResult, SolveJob, SolveResult
from bench.measures.problems.sets import CHAT, FIM, problem_set
from bench.models.reference import Reference
from bench.records.run import ProblemRecord, ProblemSetIdentity, Run, RunStore
from bench.texts.chat import template_for
from bench.workbench.files import short_hash

#: Part of every key: raise it when problems are turned into other tokens.
_ENCODING = 3
#: Tokens that a problem may have with its completion, where the model's context allows it.
_CONTEXT = 8192


@dataclass(frozen=True)
class Problems:
    """A set as it is asked of one model. identity: what its figures belong to; path: the encoded set; rows: scored tokens of the
    largest batch."""

    identity: ProblemSetIdentity
    path: Path
    batches: int
    rows: int


def prepare(
    named: Sequence[str],
    reference: Reference,
    library: LibraryInfo,
    assistant_only: bool,
    cache: Path,
    reporter: Reporter,
) -> list[Problems]:
    """The sets, encoded for the reference's vocabulary. What the model lacks is told, and that set left out.

    Raises BenchError for a set that cannot be read.
    """
    if assistant_only and not any(problem_set(n).kind == CHAT for n in named):
        raise BenchError("--assistant-only says how conversations are scored; ask for them with --kinds chat")
    header = read_header(reference.path)
    embedded = header.metadata.get("tokenizer.chat_template")
    template = template_for(str(embedded) if embedded else None, reference.info.architecture)
    found = []
    for name in named:
        wanted = problem_set(name)
        only = assistant_only and wanted.kind == CHAT
        asked = [wanted.sha256, reference.info.vocabulary_sha256, wanted.kind == CHAT and template, only]
        context = min(_CONTEXT, reference.info.context_length or _CONTEXT)
        key = short_hash(_ENCODING, library.binding, context, *asked)
        identity = ProblemSetIdentity(
            name=wanted.name, problem_kind=wanted.kind, sha256=wanted.sha256, assistant_only=only, key=key
        )
        job = EncodeJob(
            model=reference.path,
            problems=name,
            template=template,
            context=context,
            assistant_only=only,
            out=(cache / "tokens" / f"problems-{key}.json").absolute(),
        )
        try:
            encoded = _encoded(job)
        except MeasurementError:
            raise
        except BenchError as e:
            reporter.warn(f"{reference.info.name}: {e}")
            continue
        if encoded.left_out:
            problem, why = next(iter(encoded.left_out.items()))
            reporter.warn(
                f"{name}: {len(encoded.left_out)} of {len(wanted.problems)} are left out, such as {problem}: {why}"
            )
        found.append(Problems(identity, job.out, encoded.batches, encoded.rows))
    return found


def _encoded(job: EncodeJob) -> EncodeResult:
    note = job.out.with_suffix(".note")
    try:
        if job.out.is_file():
            return EncodeResult.model_validate_json(note.read_bytes())
    except (OSError, ValidationError):
        pass  # not encoded yet, or by another version of this program
    result = run_job(job, EncodeResult)
    with complete_or_absent(note) as partial:
        partial.write_text(result.model_dump_json(), encoding="utf-8")
    return result


def pending_batches(
    problems: Problems, run: Run, names: Collection[str], alone: Collection[str], reference: str
) -> dict[int, list[str]]:
    """Files that are still to be scored on a set, by batch. alone: those that are not compared with the reference."""
    on_record = run.problems(problems.identity.key)

    def has(name: str, batch: int) -> bool:
        found = on_record.get(name, {}).get(batch)
        return found is not None and (
            name == reference or name in alone or all(r.kl is not None for r in found.results)
        )

    missing = {b: [n for n in names if not has(n, b)] for b in range(problems.batches)}
    return {b: left for b, left in missing.items() if left}


def solve_problems(
    problems: Problems,
    store: RunStore,
    paths: dict[str, Path],
    alone: Collection[str],
    reference: str,
    *,
    threads: int,
    cpus: list[int],
    scratch: Path,
    vocabulary: int,
    reporter: Reporter,
) -> None:
    """Put the results of every file on record. paths: the files, the reference's among them. A failure costs one batch of one file."""
    todo = pending_batches(problems, store.run, list(paths), alone, reference)
    logits = ReferenceLogits(scratch / "problems.logits", vocabulary)
    # of a batch: as llama.cpp computes them, the rows that are scored, and the system's copy of the reference's
    needed, available = 3 * logits.n_bytes(problems.rows, vocabulary), machine_memory().available
    if todo and needed > available:
        reporter.warn(
            f"{problems.identity.name}: its longest problems take {needed / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are available; "
            "end other programs or give shorter ones"
        )
        return
    label = {FIM: "Infill problems", CHAT: "Conversations"}[problems.identity.problem_kind]
    try:
        with reporter.steps(label, sum(map(len, todo.values()))) as steps:
            for batch, names in todo.items():
                logits.path.unlink(missing_ok=True)
                for name in dict.fromkeys([reference, *names]):
                    steps.name(f"batch {batch + 1} of {problems.batches}, {name}")
                    is_reference = name == reference
                    compared = not is_reference and name not in alone and logits.path.exists()
                    job = SolveJob(
                        model=paths[name],
                        problems=problems.path,
                        batch=batch,
                        threads=threads,
                        write_logits=logits.path.absolute() if is_reference else None,
                        reference_logits=logits.path.absolute() if compared else None,
                    )
                    try:
                        solved = run_job(job, SolveResult, cpus=cpus)
                    except BenchError as e:
                        reporter.warn(f"{name}, {label.lower()}, batch {batch + 1}: {e}")
                    else:
                        if name in names:
                            store.append(_record(store.run, name, problems, batch, solved))
                    if name in names:
                        steps.done()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _record(run: Run, name: str, problems: Problems, batch: int, solved: SolveResult) -> ProblemRecord:
    return ProblemRecord(
        run=run.header.id,
        recipe=name,
        sha256=run.files[name].sha256,
        problem_set=problems.identity,
        batch=batch,
        batches=problems.batches,
        results=solved.results,
    )
