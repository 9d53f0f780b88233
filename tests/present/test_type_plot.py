"""The plot of types: which two files it shows."""

from __future__ import annotations

from matplotlib import pyplot as plt

from bench.present import type_plot
from bench.records.record import ChoiceRecord, FileRecord
from tests.support.records import file_record, run_of

TYPES = {"token_embd.weight": "Q5_K", "blk.0.attn_v.weight": "IQ2_S", "blk.1.attn_v.weight": "Q4_K"}


def file(name: str, family: str, base: str, against: str | None = None, types: dict[str, str] = TYPES) -> FileRecord:
    choice = ChoiceRecord(limit=1, against=against) if against else None
    return file_record(name, family, 1).model_copy(update={"base": base, "types": types, "choice": choice})


def test_a_choice_of_a_standard_size_is_shown_beside_it_or_else_a_mixed_recipe() -> None:
    standard, gate = file("IQ2_S", "Standard", "IQ2_S"), file("DG-IQ2_S", "DynamicGate", "IQ2_S")
    other, choice = file("IQ1_S", "Standard", "IQ1_S"), file("auto@IQ1_S", "Automatic", "IQ1_S", "IQ1_S")
    shown = type_plot.compared(run_of([standard, gate]))
    assert shown is not None and [f.recipe for f in shown] == ["IQ2_S", "DG-IQ2_S"]
    shown = type_plot.compared(run_of([standard, gate, other, choice]))
    assert shown is not None and [f.recipe for f in shown] == ["IQ1_S", "auto@IQ1_S"]
    assert type_plot.compared(run_of([standard, other])) is None


def test_files_whose_types_are_unknown_are_not_drawn() -> None:
    standard, gate = file("IQ2_S", "Standard", "IQ2_S"), file("DG-IQ2_S", "DynamicGate", "IQ2_S", types={})
    assert type_plot.draw(run_of([standard, gate])) == {}
    [figure] = type_plot.draw(run_of([standard, file("DG-IQ2_S", "DynamicGate", "IQ2_S")])).values()
    assert [a.get_title(loc="left").partition(":")[0] for a in figure.axes] == ["IQ2_S", "DG-IQ2_S"]
    plt.close(figure)
