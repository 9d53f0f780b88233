"""A run in words: how long it took, as far as its records of stages tell, and what its reference is."""

from __future__ import annotations

import pytest

from bench.records.describe import about, minutes_text, reference_caveat, stage_minutes, what_it_took, worked_minutes
from bench.records.record import ChoiceRecord, Record, StageRecord
from bench.records.run import Run
from tests.support.records import file_record, run_of, window_record


def at(clock: str) -> str:
    return f"2026-11-25T{clock}+00:00"


def stage(name: str, event: str, clock: str, sitting: str) -> StageRecord:
    return StageRecord.model_validate(
        {"run": "r", "stage": name, "event": event, "time": at(clock), "sitting": at(sitting)}
    )


def run(*records: Record) -> Run:
    found = run_of([*records])
    return Run(found.header.model_copy(update={"started": at("10:00:05")}), found.records)


FIRST = [
    stage("Preparing", "began", "10:00:00", "10:00:00"),
    stage("Preparing", "ended", "10:01:00", "10:00:00"),
    stage("Choosing types", "began", "10:01:00", "10:00:00"),
    # twenty minutes without a record
    stage("Choosing types", "ended", "10:21:00", "10:00:00"),
]


def test_a_long_stage_without_a_record_in_it_counts() -> None:
    assert worked_minutes(run(*FIRST)) == pytest.approx(21)
    assert stage_minutes(run(*FIRST)) == {"Preparing": 1.0, "Choosing types": 20.0}


def test_what_it_took_by_stage_and_in_tokens() -> None:
    made = {"time": at("10:21:00")}
    files = [file_record(n, "Automatic", 10**9).model_copy(update=made) for n in ("auto@2bpw", "auto@3bpw")]
    choice = ChoiceRecord(limit=10**9, against=None, tried=9, trial_tokens=3_456, probe_tokens=27_008)
    chosen = [f.model_copy(update={"choice": choice}) for f in files]
    told = "What it took: 21 minutes of work, preparing 5 %, choosing types 95 %. Decoded: "
    assert what_it_took(run(*FIRST, *chosen)) == (
        f"{told}4 thousand tokens of windows, 7 thousand to try choices of types, 27 thousand to probe tensors."
    ), "tensors are probed once for all choices"
    assert what_it_took(run(*FIRST, *files)) == f"{told}4 thousand tokens of windows."
    assert what_it_took(run(*files)) is None, "a run of a version that kept no stages"


def test_time_between_sittings_does_not_count_and_a_killed_stage_does_up_to_its_last_record() -> None:
    window = window_record("F16", 0, 10, 1).model_copy(update={"time": at("10:30:00")})
    records = [
        *FIRST,
        stage("Scoring", "began", "10:25:00", "10:00:00"),
        window,  # and then it was killed
        stage("Preparing", "began", "14:00:00", "14:00:00"),
        stage("Preparing", "ended", "14:00:30", "14:00:00"),
        stage("Scoring", "began", "14:01:00", "14:00:00"),
        stage("Scoring", "ended", "14:11:00", "14:00:00"),
    ]
    found = run(*records)
    assert worked_minutes(found) == pytest.approx(30 + 11)
    assert stage_minutes(found) == {"Preparing": 1.5, "Choosing types": 20.0, "Scoring": 15.0}
    assert about(found)[-1] == "Run: 2026-11-25, 41 minutes of work."
    assert "took 41 minutes on Test CPU (2 cores, 16 GiB)" in minutes_text(found)
    assert minutes_text(found).endswith("choosing types 20 minutes, scoring 15 minutes, preparing 2 minutes.")


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ("10:00:05", "less than half a minute"),
        ("10:00:30", "half a minute"),
        ("10:01:10", "1 minute"),
        ("10:02:00", "2 minutes"),
    ],
)
def test_short_runs_are_told_in_words(ended: str, said: str) -> None:
    found = run(stage("Preparing", "began", "10:00:00", "10:00:00"), stage("Preparing", "ended", ended, "10:00:00"))
    assert about(found)[-1] == f"Run: 2026-11-25, {said} of work."


def test_records_of_an_early_version_tell_no_minutes() -> None:
    found = run(file_record("F16", "Reference", 100), window_record("F16", 0, 10, 1))
    assert worked_minutes(found) is None and stage_minutes(found) == {}
    assert about(found)[-1] == "Run: 2026-11-25."
    assert "do not tell" in minutes_text(found)


@pytest.mark.parametrize(
    ("description", "types", "said"),
    [
        ("A model.", {"F16": 9}, ""),
        (
            "A model. Widened exactly with zeros: width 576 to 768.",
            {"F16": 9},
            "The reference of this run was widened with zeros to fit the blocks of all formats, which keeps what it computes and "
            "makes its files larger.",
        ),
        (
            "A model, dequantized from Q4_1 and Q8_0 to F16. Widened exactly with zeros: width 576 to 768.",
            {"F16": 9},
            "The reference of this run had already been quantized, to Q4_1 and Q8_0, and was widened with zeros to fit the blocks "
            "of all formats, which keeps what it computes and makes its files larger. So the files are not made from the original "
            "weights, and this run says nothing about files that are mostly of 4 bits and more.",
        ),
        (
            "A model.",
            {"Q8_0": 9},
            "The reference of this run had already been quantized, to Q8_0. So the files are not made from the original weights, "
            "and this run says nothing about files that are mostly of 8 bits and more.",
        ),
    ],
)
def test_a_reference_that_is_not_the_published_model_is_said(
    description: str, types: dict[str, int], said: str
) -> None:
    reference = file_record("F16", "Reference", 9)
    told = {"description": description, "weights_by_type": types}
    assert reference_caveat(run_of([reference.model_copy(update=told)])) == said
