"""Runs for pages: a made-up one, and where the published ones are."""

from __future__ import annotations

from pathlib import Path

from bench.measures.problems.jobs import ProblemResult
from bench.measures.problems.records import ProblemRecord, ProblemSetIdentity
from bench.measures.samples.jobs import Completion
from bench.measures.samples.records import SampleRecord
from bench.records.record import FileRecord
from bench.records.run import FILE_NAME, Record, Run
from tests.support.records import file_record, run_of, window_record

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = sorted(p.parent.name for p in RESULTS.glob(f"*/{FILE_NAME}"))


def types(q: list[str], v: list[str]) -> dict[str, str]:
    layers = {f"blk.{i}.attn_q.weight": t for i, t in enumerate(q)} | {
        f"blk.{i}.attn_v.weight": t for i, t in enumerate(v) if t
    }
    return {"token_embd.weight": "Q5_K", "output_norm.weight": "F32", "blk.0.attn_norm.weight": "F32"} | layers


def some_run() -> Run:
    """A reference, a pair, eight windows, problems, samples; texts that are markup unless they are escaped."""
    found: list[tuple[FileRecord, float]] = [
        (file_record("F16", "Reference", 400_000_000), 10.0),
        (file_record("IQ2_XXS", "Standard", 100_000_000), 40.0),
        (file_record("DG-IQ2_XXS", "DynamicGate", 110_000_000), 20.0),
    ]
    records: list[Record] = []
    for file, ppl in found:
        mixed = types(["IQ2_XXS", "IQ2_XXS", "IQ4_XS"], ["IQ4_XS", "", "IQ4_XS"])
        records.append(file.model_copy(update={"types": mixed, "description": "<b>bold</b>"}))
        records += [window_record(file.recipe, i, ppl * (1 + i / 100), 2.0 + i / 10) for i in range(8)]
        completion = Completion(tokens=(1, 2), text="a | b <script>alert(1)</script>", ended=False)
        prompts = (("prose", "Once <i>upon</i>"),)
        sample = {"recipe": file.recipe, "sha256": file.sha256, "prompts": prompts, "limit": 48}
        records.append(SampleRecord(run="r", completions=(completion,), **sample))
        results = tuple(
            ProblemResult(name=str(i), group="py" if i % 2 else "c", tokens=10, nll=ppl, correct=5) for i in range(8)
        )
        problem_set = ProblemSetIdentity(
            name="chat", problem_kind="chat", sha256="2" * 64, assistant_only=False, key="k"
        )
        records.append(
            ProblemRecord(run="r", recipe=file.recipe, sha256=file.sha256, problem_set=problem_set, batch=0, batches=1, results=results)
        )  # fmt: skip
    return run_of(records, windows=8)


def on_disk(run: Run, directory: Path) -> Path:
    directory.mkdir(parents=True)
    lines = [run.header, *run.records]
    (directory / FILE_NAME).write_text("".join(f"{r.model_dump_json()}\n" for r in lines), encoding="utf-8")
    return directory
