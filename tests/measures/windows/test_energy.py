"""Joules for each token stand in tables where a counter was read, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.api.runs import load_run
from bench.execute.job import Job, Share
from bench.execute.local import LocalExecutor
from bench.measures.windows import joules, tables
from bench.measures.windows.columns import FILES
from bench.measures.windows.energy import energy_notes
from bench.measures.windows.jobs import PassJob
from bench.measures.windows.records import WindowRecord
from bench.measures.windows.runs import windows_of
from bench.measures.windows.sections import file_columns, file_key
from bench.measures.windows.throughput_jobs import RoundJob
from bench.present.notes import notes
from bench.present.pages.tables import files_table
from bench.records.run import Run
from tests.conftest import Outcome
from tests.measures.windows.counted_worker import WATTS, CountedPassJob, CountedRoundJob
from tests.support.records import counted, file_record, run_of, window_record

TITLES = set(tables.ENERGY_COLUMNS)
NAMES = {
    name
    for c in FILES.columns
    if "joules" in c.name or "energy" in c.name or c.name == "idle_watts"
    for name in c.names
}


def run_with(*records: WindowRecord, windows: int) -> Run:
    files = [file_record("F16", "Reference", 384_000_000), file_record("IQ1_S", "Standard", 60_000_000)]
    return run_of([*files, *records], windows=windows)


def six_passes(**given: bool) -> Run:
    """The machine takes more in every pass, and IQ1_S always half of what the reference takes."""
    return run_with(
        *(counted("F16", i, 2048 * (1 + i / 10), seconds=9) for i in range(6)),
        *(counted("IQ1_S", i, 1024 * (1 + i / 10), seconds=9, **given) for i in range(6)),
        windows=6,
    )


def test_joules_are_told_with_their_intervals_and_against_the_reference() -> None:
    run = six_passes()
    rows = tables.full_frame(run).set_index("recipe")
    assert set(rows) >= NAMES
    first, other = rows.loc["F16"], rows.loc["IQ1_S"]
    assert first["joules_per_prompt_token"] == pytest.approx(1.24, abs=0.01)
    assert first["joules_per_prompt_token_low"] < 1.24 < first["joules_per_prompt_token_high"]
    assert first["joules_per_generated_token"] == pytest.approx(0.01 * 2048 / 32 * 1.24, rel=0.01)
    assert pd.isna(first["prompt_energy_ratio_vs_reference"])
    for ratio in ("prompt_energy_ratio_vs_reference", "generation_energy_ratio_vs_reference"):
        assert [other[ratio + end] for end in ("", "_low", "_high")] == pytest.approx([0.5] * 3), "paired by pass"
    assert other["idle_watts"] == 13.5
    text = tables.full_table(run).set_index("Recipe")
    assert text.loc["IQ1_S", "J/pp [95 %]"].startswith("0.619 [")  # type: ignore[union-attr]
    assert {c.title for c in file_columns(run)} >= TITLES and any(
        line.startswith("J/pp, J/tg: ") for line in file_key(run, everywhere=True)
    )
    cells = {title: i for i, (title, _) in enumerate(files_table(run).columns)}
    assert float(files_table(run).rows[1][cells["J/pp"]].value or "") == pytest.approx(other["joules_per_prompt_token"])
    assert [n for n in notes(run) if "Joules" in n] == [
        "Joules are those of the machine's whole processor packages, with their memory, as powercap counts them, and not of the measuring process "
        "alone; at rest they took 13.5 W (median of 12 readings), which is not taken off"
    ]


def test_without_a_counter_nothing_is_said_of_energy() -> None:
    run = run_with(*(window_record(f, i, 10, 8) for f in ("F16", "IQ1_S") for i in range(6)), windows=6)
    assert not NAMES & set(tables.full_frame(run)) and not TITLES & set(tables.full_table(run))
    assert not TITLES & {c.title for c in file_columns(run)}
    assert not any("J/" in line for line in file_key(run, everywhere=True)) and not energy_notes(run)


def test_a_second_of_ones_own_time_is_needed() -> None:
    run = run_with(*(counted("F16", i, 20.0, seconds=s) for i, s in enumerate((0.4, 0.7))), windows=2)
    [row] = [r for r in tables.full_frame(run).to_dict("records") if r["recipe"] == "F16"]
    assert row["joules_per_prompt_token"] == pytest.approx(20 / 2048)
    assert "joules_per_generated_token" not in row, "tokens took 0.022 s"
    short = run_with(*(counted("F16", i, 20.0, seconds=0.4) for i in range(2)), windows=2)
    assert not NAMES & set(tables.full_frame(short)) and not energy_notes(short)


def test_energy_with_memory_and_without_does_not_compare() -> None:
    rows = tables.full_frame(six_passes(memory=False))
    assert "prompt_energy_ratio_vs_reference" not in rows and rows["joules_per_prompt_token"].notna().all()
    mixed = run_with(*(counted("F16", i, 20.0, memory=bool(i)) for i in range(2)), windows=2)
    assert not NAMES & set(tables.full_frame(mixed))


def test_a_counter_that_stood_still_for_a_pass_tells_nothing() -> None:
    run = run_with(*(counted("F16", i, 20.0 * i) for i in range(2)), windows=2)
    assert not NAMES & set(tables.full_frame(run))


@pytest.fixture
def beside_a_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers read a counter that is made up, and any time is enough."""
    do, counted_jobs = LocalExecutor.do, {PassJob: CountedPassJob, RoundJob: CountedRoundJob}

    def counting(self: LocalExecutor, job: Job[Any], progress: Share | None = None) -> object:
        found = counted_jobs.get(type(job))
        return do(self, found.model_validate(job.model_dump()) if found else job, progress)

    monkeypatch.setattr(LocalExecutor, "do", counting)
    monkeypatch.setattr(joules, "_LEAST", 0.0)


@pytest.mark.usefixtures("beside_a_counter")
def test_time_beside_a_counter(bench: Callable[..., Outcome], tiny: Path, cache: Path) -> None:
    asked = ("time", tiny, "-p", "64", "-n", "4", "-r", 1, "-t", 1, "--quiet", "--cache", cache)
    prompt, generated = json.loads(bench(*asked, "-o", "json").out)
    for row, tokens in ((prompt, 64), (generated, 4)):
        # the counter also sees what lies around llama.cpp's own work
        assert row["joules_per_token"] > 0.99 * WATTS * row["avg_ns"] / 1e9 / tokens
        assert row["idle_watts"] == pytest.approx(WATTS, rel=0.3) and row["joules_per_token_low"] is None
    table = bench(*asked).out
    assert "J/token" in table and "packages, with their memory, for each token, as perf counts them" in " ".join(
        table.split()
    )


@pytest.mark.usefixtures("beside_a_counter")
def test_a_run_beside_a_counter(
    bench: Callable[..., Outcome],
    tiny: Path,
    text: Path,
    calibration: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "run"
    texts = ("--text", text, "--calibration", calibration, "--window", 128, "--windows", 2, "--generate", 2, "-t", 1)
    done = bench(
        "run", "--quiet", "--model", tiny, "--recipes", "Q4_0", *texts, "--cache", tmp_path, "--out", out, "--json"
    )
    assert done.code == 0, done.err
    assert all(f["joules_per_prompt_token"] > 0 for f in json.loads(done.out)["files"])
    found = load_run(out)
    assert set(found.files) >= NAMES - {n for n in NAMES if n.endswith(("_low", "_high"))}
    for by_window in windows_of(found.run).by_file.values():
        for result in (r.result for r in by_window.values()):
            assert result.energy is not None and result.energy.idle_watts == pytest.approx(WATTS, rel=0.3)
            assert result.energy.window == pytest.approx(WATTS * result.activity.wall, rel=0.3), (
                "others' turns do not count"
            )
            assert result.energy.generation and result.energy.generation > WATTS * (result.generate_seconds or 0)
    told = (out / "tables" / "tables.md").read_text()
    assert "| J/pp [95 %] |" in told and "at rest they took 50.0 W (median of 4 readings)" in told
