"""What is apart in a run stays apart on the hub."""

from __future__ import annotations

import pytest

from bench.present.hub_names import file_names, sharing
from bench.recipes.labels import hub_label
from bench.records.record import ChoiceRecord, FileRecord
from bench.records.run import Run
from tests.support.records import file_record, run_of


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Model-Q4_K_M.gguf", "Q4_K_M"),
        ("Model-Q2_K.gguf", "Q2_K"),
        ("Model-F16-DG-IQ2_XXS.gguf", "IQ2_XXS"),  # the last type in the name: one with the standard file
        ("Model-IQ2_XXS_DG.gguf", "IQ2_XXS_DG"),
        ("Model-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("model.gguf", None),
    ],
)
def test_labels_are_read_as_the_hub_reads_them(name: str, label: str | None) -> None:
    assert hub_label(name) == label


def file(recipe: str, family: str, base: str, n_bytes: int, against: str | None = None) -> FileRecord:
    choice = ChoiceRecord(limit=n_bytes, against=against) if family == "Automatic" else None
    return file_record(recipe, family, n_bytes).model_copy(update={"base": base, "choice": choice})


def a_run(*more: FileRecord) -> Run:
    return run_of(
        [
            file("F16", "Reference", "F16", 900),
            file("IQ2_XXS", "Standard", "IQ2_XXS", 100),
            file("DG-IQ2_XXS", "DynamicGate", "IQ2_XXS", 110),
            file("DG-FULL-IQ2_XXS", "DynamicGate, full", "IQ2_XXS", 120),
            file("auto@IQ2_XXS", "Automatic", "IQ2_S", 100, "IQ2_XXS"),
            file("auto@DG-IQ2_XXS", "Automatic", "IQ3_S", 110, "DG-IQ2_XXS"),
            *more,
        ],
        model="M",
    )


def test_every_file_has_a_label_of_its_own() -> None:
    names = file_names(a_run())
    assert names == {
        "IQ2_XXS": "M-IQ2_XXS.gguf",
        "auto@IQ2_XXS": "M-IQ2_XXS_AUTO.gguf",
        "DG-IQ2_XXS": "M-IQ2_XXS_DG.gguf",
        "auto@DG-IQ2_XXS": "M-IQ2_XXS_AUTODG.gguf",
        "DG-FULL-IQ2_XXS": "M-IQ2_XXS_DGFULL.gguf",
    }
    assert len({hub_label(n) for n in names.values()}) == len(names) and not sharing(a_run())


def test_a_model_whose_name_has_no_letter_for_a_file_still_has_files_with_a_name() -> None:
    run = run_of([file("IQ2_XXS", "Standard", "IQ2_XXS", 100)], model="模型")
    assert file_names(run) == {"IQ2_XXS": "model-IQ2_XXS.gguf"}


def test_where_labels_cannot_be_kept_apart_names_are_and_it_is_known() -> None:
    run = a_run(file("auto@2.1bpw", "Automatic", "IQ2_XXS", 105))
    names = file_names(run)
    assert names["auto@2.1bpw"] == "M-auto-2.1bpw-IQ2_XXS_AUTO.gguf"
    assert sharing(run) == {"IQ2_XXS_AUTO": [names["auto@IQ2_XXS"], names["auto@2.1bpw"]]}


def test_what_no_label_tells_stands_in_the_name() -> None:
    bound = "auto@experts=12GB+rest=6GB+together"
    run = run_of([file("IQ2_XXS", "Standard", "IQ2_XXS", 100), file(bound, "Automatic", "IQ3_S", 105)], model="M")
    assert file_names(run)[bound] == "M-auto-experts-12GB+rest-6GB+together-IQ3_S_AUTO.gguf"
    assert hub_label(file_names(run)[bound]) == "IQ3_S_AUTO"
