"""What a reference that was quantized once cannot tell."""

from __future__ import annotations

import pytest

from bench.measures.windows import notes, tables
from bench.measures.windows.equal_size import equal_size_summary, equal_size_text
from bench.present.files import all_files
from bench.records.record import ChoiceRecord, FileRecord
from bench.records.resolution import MARK, UNTOLD, code_bits, once_stored_in, resolution
from bench.records.run import Run
from tests.measures.windows.test_equal_size import compared
from tests.support.records import file_record, run_of, window_record


def file(recipe: str, family: str, n_bytes: int, weights: dict[str, int]) -> FileRecord:
    return file_record(recipe, family, n_bytes).model_copy(update={"weights_by_type": weights})


def run(description: str = "A model, dequantized from Q4_1 and Q8_0 to F16. Widened.") -> Run:
    choice = ChoiceRecord(limit=100, against="Q4_K_M")
    files = [
        file("F16", "Reference", 400, {"F16": 100}).model_copy(update={"description": description}),
        file("IQ3_S", "Standard", 100, {"IQ3_S": 80, "Q6_K": 20}),
        file("MOST-4", "Of a file", 110, {"IQ3_S": 30, "Q4_K": 70}),
        file("Q4_K_M", "Standard", 120, {"Q4_K": 80, "Q6_K": 20, "F32": 1}),
        file("auto@Q4_K_M", "Automatic", 120, {"IQ3_S": 10, "Q5_K": 45, "Q4_K": 45}).model_copy(update={"choice": choice}),
    ]  # fmt: skip
    windows = [compared(f.recipe, i, 20 - n, 0.1 / n) for i in range(6) for n, f in enumerate(files[1:], 1)]
    return run_of([*files, *windows, *(compared("F16", i, 10, 0) for i in range(6))], windows=6)


def test_files_are_beyond_the_reference_when_most_of_their_error_is_in_as_many_bits_as_it_once_had() -> None:
    # of MOST-4's expected error 30 x 4^-3 lies below 4 bits, and 70 x 4^-4, which is less, does not
    assert resolution(run()).beyond == {"Q4_K_M", "auto@Q4_K_M"}
    assert resolution(run()).types == ("Q4_1", "Q8_0")


@pytest.mark.parametrize(
    "name, bits", [("Q4_1", 4), ("IQ4_XS", 4), ("IQ2_XXS", 2), ("TQ1_0", 1), ("MXFP4", 4), ("BF16", 16), ("Q8_0", 8)]
)
def test_bits_of_a_type_are_those_of_its_codes(name: str, bits: int) -> None:
    assert code_bits(name) == bits


def test_a_reference_that_is_quantized_itself_is_known_by_its_types() -> None:
    assert once_stored_in(file("Q8_0", "Reference", 1, {"Q8_0": 90, "F32": 1})) == ("Q8_0",)


def test_a_reference_in_16_bits_can_tell_everything() -> None:
    told = resolution(run("A model."))
    assert (told.types, told.beyond, told.sentence) == ((), frozenset(), "")
    assert MARK not in equal_size_text(run("A model.")) + all_files(run("A model."), everywhere=False).key


def test_what_cannot_be_told_is_marked_and_not_counted() -> None:
    [said] = equal_size_summary(run())
    assert said.startswith("1 more comparison cannot be told. The reference was once stored in Q4_1 and Q8_0")
    text = equal_size_text(run())
    assert UNTOLD in text and f"- {MARK}: The reference was once stored in Q4_1 and Q8_0" in text
    kl = {r["Recipe"]: r["KL [95 %]"] for r in tables.reference_table(run()).to_dict("records")}
    assert kl["Q4_K_M"].endswith(MARK) and not kl["IQ3_S"].endswith(MARK)


def test_no_file_is_called_worse_by_what_cannot_be_told() -> None:
    worse = [window_record("auto@Q4_K_M", i, 19, 1) for i in range(6)]  # than every smaller file
    for description, said in (("A model.", True), ("A model, dequantized from Q4_1 to F16.", False)):
        found = run(description)
        found = run_of([*found.records, *worse], windows=6)
        assert any("auto@Q4_K_M" in s for s in notes.surprises(found)) is said
