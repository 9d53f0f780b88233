"""Two runs side by side, and what the program notices by itself."""

from __future__ import annotations

import pytest

from bench.core.errors import BenchError
from bench.measures.windows.notes import surprises
from bench.present.compare import comparison_notes, comparison_table
from bench.present.notes import notes
from bench.records.run import Run
from tests.support.records import file_record, run_of, window_record


def run(ppl: float = 10.0, seconds: float = 2.0, **identity: object) -> Run:
    records = [file_record("F16", "Reference", 1000), file_record("IQ1_S", "Standard", 100)]
    for i in range(6):
        records += [window_record("F16", i, 5 + i, 2), window_record("IQ1_S", i, ppl + i, seconds)]
    return run_of(records, **{"windows": 6, **identity})  # type: ignore[arg-type]


def test_differences_are_paired_and_judged() -> None:
    rows = comparison_table(run(), run(ppl=11.0, seconds=2.2)).to_dict("records")
    assert [r["Recipe"] for r in rows] == ["F16", "IQ1_S"]
    assert rows[0]["Perplexity"] == "equal to the last digit" and rows[0]["Time"] == "–"
    assert rows[1]["Perplexity"] == "B worse" and rows[1]["Time"] == "slower"
    assert rows[1]["Time ratio to reference [95 %]"] == "1.100 [1.100, 1.100]"


def test_every_difference_that_forbids_it_is_named_with_both_values() -> None:
    with pytest.raises(BenchError) as error:
        comparison_table(run(), run(threads=16, model="Other"))
    assert "settings.threads is 2 in one and 16 in the other" in str(error.value)
    assert "model.name is Test model in one and Other in the other" in str(error.value)


def test_runs_of_different_machines_compare_in_all_but_speed() -> None:
    here = run()
    there = run(ppl=11.0, seconds=2.2, cpu="Another CPU")
    table = comparison_table(here, there)
    rows = table.to_dict("records")
    assert [r["Perplexity"] for r in rows] == ["equal to the last digit", "B worse"]
    assert {r["Time"] for r in rows} == {"different machines"}
    assert {r["Time ratio to reference [95 %]"] for r in rows} == {"–"}
    equal, machines = comparison_notes(here, there, table)
    assert equal == "1 of 2 files have the same score in every window, to the last digit."
    assert "Another CPU" in machines and "speed does not" in machines


def test_a_slower_machine_is_not_taken_for_a_slower_recipe() -> None:
    def on(factor: float) -> Run:
        records = [file_record("F16", "Reference", 1000), file_record("IQ1_S", "Standard", 100)]
        for i in range(6):
            records += [window_record("F16", i, 5, 2 * factor), window_record("IQ1_S", i, 9, 1.5 * factor)]
        return run_of(records, windows=6)  # type: ignore[arg-type]

    [_, row] = comparison_table(on(1.0), on(1.7)).to_dict("records")
    assert row["Time ratio to reference [95 %]"] == "1.000 [1.000, 1.000]" and row["Time"] == "no difference shown"


def test_unfinished_runs_are_refused() -> None:
    half = run_of([file_record("F16", "Reference", 9), file_record("IQ1_S", "Standard", 5)], windows=6)  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="no recipe has all its windows in both runs"):
        comparison_table(run(), half)


def test_runs_without_a_common_recipe_are_refused() -> None:
    other = run_of([file_record("F16", "Reference", 9), file_record("Q8_0", "Standard", 5)], windows=6)
    with pytest.raises(BenchError, match="no recipe is in both runs"):
        comparison_table(run(), other)


def test_a_larger_file_that_scores_worse_is_noticed() -> None:
    records = [
        file_record("IQ2_XXS", "Standard", 100),
        file_record("IQ2_S", "Standard", 120),
        file_record("IQ2_M", "Standard", 130),
    ]
    for i in range(6):
        # IQ2_S is worse in every window; IQ2_M now better, now worse
        worse = 10.5 + i if i % 2 else 9.5 + i
        records += [
            window_record("IQ2_XXS", i, 10 + i, 1),
            window_record("IQ2_S", i, 12 + i, 1),
            window_record("IQ2_M", i, worse, 1),
        ]
    said = surprises(run_of(records, windows=6))  # type: ignore[arg-type]
    assert len(said) == 1 and said[0].startswith("IQ2_S (0.0M) scores worse than a smaller file: perplexity")


def test_bits_far_from_the_name_and_spread_timings_are_noticed() -> None:
    far = file_record("IQ1_S", "Standard", 100).model_copy(update={"bits_per_weight": 2.4})
    records = [far, *(window_record("IQ1_S", i, 10, 1 + i) for i in range(6))]
    said = notes(run_of(records, windows=6))  # type: ignore[arg-type]
    assert any("IQ1_S 2.40 (its main type has 1.56)" in n for n in said)
    assert any(n.startswith("IQ1_S: its times spread by 35.7%") for n in said)


def test_outliers_and_a_machine_that_slows_down_are_noticed() -> None:
    def told(seconds: list[float]) -> list[str]:
        records = [file_record("IQ1_S", "Standard", 100), file_record("Q8_0", "Standard", 200)]
        for i, s in enumerate(seconds):
            records += [window_record("IQ1_S", i, 10, s), window_record("Q8_0", i, 9, 2 * s)]
        return notes(run_of(records, windows=len(seconds)))  # type: ignore[arg-type]

    steady = told([1.0, 1.01, 0.99, 1.0, 1.01, 1.0])
    assert not any("became" in n or "times the median" in n for n in steady)
    slowing = told([1.0, 1.0, 1.0, 1.1, 1.1, 1.1])
    assert any(n.startswith("The machine became slower by 10.0%") for n in slowing)
    assert any("Q8_0: 1 of 6 passes took more than 1.5 times" in n for n in told([1.0, 1.0, 9.0, 1.0, 1.0, 1.0]))
