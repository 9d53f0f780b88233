"""Recipes held against others of their size, and mixed recipes against the standard of their base."""

from __future__ import annotations

import numpy as np

from bench.measures.windows import tables
from bench.measures.windows.equal_size import equal_size_summary, equal_size_table
from bench.measures.windows.jobs import TokenData, pack
from bench.present.notes import notes
from bench.records.record import ChoiceRecord
from bench.records.run import Record, Run
from tests.support.records import file_record, run_of, window_record

TOKENS = 4


def compared(recipe: str, index: int, ppl: float, kl: float) -> Record:
    """A window that was compared with the reference: every token has the same divergence."""
    record = window_record(recipe, index, ppl, 1)
    zeros = np.zeros(TOKENS)
    tokens = TokenData(kind_names=("text",), kinds=pack(zeros, np.uint8), nll=pack(zeros + np.log(ppl), np.float32),
                       flags=pack(zeros, np.uint8), kl=pack(zeros + kl, np.float32), p_change=pack(zeros, np.float32))  # fmt: skip
    return record.model_copy(update={"result": record.result.model_copy(update={"tokens": tokens})})


def run() -> Run:
    choice = ChoiceRecord(
        limit=100, against="IQ2_S", prediction="measured", predicted_kl=0.8, calibration_kl=1.0, gap=5e-5, tried=11
    )
    control = ChoiceRecord(limit=100, against="auto@IQ2_S")
    records: list[Record] = [
        file_record("F16", "Reference", 400),
        file_record("IQ2_S", "Standard", 100),
        file_record("auto@IQ2_S", "Automatic", 99).model_copy(update={"base": "IQ2_S", "choice": choice}),
        file_record("auto@IQ2_S#1", "Automatic, random", 98).model_copy(update={"base": "IQ2_S", "choice": control}),
        file_record("DG-IQ2_S", "DynamicGate", 107),
        file_record("DG-FULL-IQ2_S", "DynamicGate, full", 123).model_copy(update={"base": "IQ2_S"}),
    ]
    for i in range(6):
        for name, ppl, kl in (("IQ2_S", 20, 1.0), ("auto@IQ2_S", 15, 0.5), ("auto@IQ2_S#1", 16 + i % 2, 0.4 + 0.2 * (i % 2)), ("DG-IQ2_S", 18, 0.8), ("DG-FULL-IQ2_S", 14, 0.6)):  # fmt: skip
            records.append(compared(name, i, ppl, kl))
        records.append(window_record("F16", i, 10, 1))
    return run_of(records, windows=6)


def test_recipes_of_a_size_are_held_against_what_has_it() -> None:
    auto, control = equal_size_table(run()).to_dict("records")
    assert (auto["Recipe"], auto["Against"], auto["Δ Size"]) == ("auto@IQ2_S", "IQ2_S", "-1.0%")
    assert auto["Δ KL [95 %]"] == "-0.5000 [-0.5000, -0.5000]" and auto["Verdict"] == "less divergence"
    assert auto["Δ PPL [95 %]"].startswith("-25.0%")
    assert (control["Recipe"], control["Against"]) == ("auto@IQ2_S#1", "auto@IQ2_S")
    assert control["Verdict"] == "no difference shown"


def test_the_comparisons_are_summed_up() -> None:
    assert equal_size_summary(run()) == [
        "Automatic choices against a recipe of the same size: less divergence in 1 of 1 comparisons",
        "Random controls against the choice that they control: no difference shown in 1 of 1 comparisons",
    ]


def test_every_mixed_recipe_is_held_against_the_standard_of_its_base() -> None:
    rows = tables.paired_table(run()).to_dict("records")
    assert [(r["Recipe"], r["Against"]) for r in rows] == [("DG-IQ2_S", "IQ2_S"), ("DG-FULL-IQ2_S", "IQ2_S")]
    [published] = tables.published_table(run()).to_dict("records")
    assert published["DynamicGate PPL"] == "18.00", "the gate, not the full rule"


def test_the_notes_say_how_far_from_the_optimum_a_choice_is() -> None:
    [said] = [n for n in notes(run()) if "chosen types" in n]
    assert "1 file with chosen types: each choice is within 0.005 % of the optimum" in said
    assert "is 0.8 times what the calibration text then showed" in said and "best of 11 assignments" in said
