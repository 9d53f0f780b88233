"""Tables as exact text."""

from __future__ import annotations

import pytest

from bench.core.formats import markdown
from bench.measures.windows import tables
from bench.measures.windows.by_cpu import by_cpu_table
from bench.present.notes import notes
from bench.present.output import summarize
from bench.records.run import Record
from tests.support.records import file_record, published_run, run_of, window_record

PUBLISHED = """\
| Quantization | Standard PPL | DynamicGate PPL |  Δ PPL | Std Size | DG Size | Δ Size | Std Speed | DG Speed |
| :----------- | -----------: | --------------: | -----: | -------: | ------: | -----: | --------: | -------: |
| IQ2_XXS      |        11.30 |            9.84 | -12.9% |     2.5G |    2.6G |  +0.1G |      234s |     246s |
| IQ2_XS       |        11.72 |           11.63 |  -0.8% |     2.7G |    2.8G |  +0.1G |      242s |     246s |
| IQ2_S        |        14.31 |            9.02 | -36.9% |     2.7G |    2.9G |  +0.2G |      238s |     244s |
| IQ1_M        |        27.46 |           15.41 | -43.9% |     2.2G |    2.5G |  +0.3G |      206s |     212s |
| IQ1_S        |        53.07 |           32.00 | -39.7% |     2.1G |    2.4G |  +0.3G |      184s |     209s |"""


def test_published_table_is_reproduced_to_the_letter() -> None:
    assert markdown(tables.published_table(published_run())) == PUBLISHED


def test_the_key_stands_below_it() -> None:
    text = summarize(published_run()).headline
    assert text.index(PUBLISHED) < text.index("Key\n- PPL: perplexity of the fixed evaluation prompts, lower is better")
    assert "Speed: time to process one window of 2048 tokens (CPU, AVX2, 2 threads), lower is better" in text


def small_run(windows: int = 6, gain: float = 0.5) -> object:
    records = [
        file_record("F16", "Reference", 384_000_000),
        file_record("IQ1_S", "Standard", 60_000_000),
        file_record("DG-IQ1_S", "DynamicGate", 84_000_000),
    ]
    for i in range(windows):
        records += [
            window_record("F16", i, 10 + i, 8),
            window_record("IQ1_S", i, 100 + 10 * i, 7 + i / 100),
            window_record("DG-IQ1_S", i, (100 + 10 * i) * gain, 7.7 + i / 100, others=5 if i == 0 else 0),
        ]
    return run_of(records, windows=windows)  # type: ignore[arg-type]


def test_full_table_has_the_reference_first_and_intervals() -> None:
    rows = tables.full_table(small_run()).to_dict("records")  # type: ignore[arg-type]
    assert [r["Recipe"] for r in rows] == ["F16", "IQ1_S", "DG-IQ1_S"]
    assert rows[0]["vs reference"] == tables.MISSING
    assert rows[0]["Window"] == "8.00 ± 0.00 s" and rows[0]["pp"] == "256"
    assert rows[1]["PPL [95 %]"].startswith("123.82 [") and "[" in rows[1]["PPL [95 %]"]
    assert rows[1]["Size"] == "60.0M" and rows[1]["Window"] == "7.03 ± 0.01 s"


def test_paired_table_says_what_is_shown() -> None:
    better = tables.paired_table(small_run(gain=0.5)).to_dict("records")[0]  # type: ignore[arg-type]
    assert better["Δ PPL [95 %]"] == "-50.0% [-50.0%, -50.0%]" and better["Verdict"] == "better"
    assert better["Δ Size"] == "+40.0%"
    same = tables.paired_table(small_run(gain=1.0)).to_dict("records")[0]  # type: ignore[arg-type]
    assert same["Verdict"] == "no difference shown"
    few = tables.paired_table(small_run(windows=5)).to_dict("records")[0]  # type: ignore[arg-type]
    assert few["Verdict"] == "too few windows for an interval (6 are needed)" and few["Δ PPL [95 %]"] == "-50.0%"


def test_notes_name_what_a_reader_must_know() -> None:
    said = notes(small_run(windows=5))  # type: ignore[arg-type]
    assert "DG-IQ1_S: 1 of 5 passes were disturbed by other load on the machine" in said
    assert "A 95 % interval needs at least 6 windows; this run has 5, so none is given" in said
    replaced = run_of([file_record("IQ1_S", "Standard", 6, replaced={"blk.0.attn_q.weight": ("IQ1_S", "IQ4_NL")})])
    assert any(
        "replaced the type of 1 tensors (blk.0.attn_q.weight: IQ1_S became IQ4_NL)" in n for n in notes(replaced)
    )


def test_a_recipe_with_missing_windows_has_no_perplexity() -> None:
    run = run_of([file_record("IQ1_S", "Standard", 6), window_record("IQ1_S", 0, 9, 1)], windows=2)
    assert tables.full_table(run).to_dict("records")[0]["PPL [95 %]"] == tables.MISSING
    assert "IQ1_S: 1 of 2 windows measured, its figures are left out" in notes(run)


@pytest.mark.parametrize(
    ("value", "text"),
    [(234.4, "234s"), (99.96, "100s"), (20.44, "20.4s"), (9.996, "10.0s"), (6.519, "6.52s"), (0.1234, "0.12s")],
)
def test_seconds(value: float, text: str) -> None:
    assert tables.seconds(value) == text


@pytest.mark.parametrize(("n_bytes", "text"), [(2.5e9, "2.5G"), (62.4e6, "62.4M"), (999.97e6, "1.0G"), (400e3, "0.4M")])
def test_sizes(n_bytes: float, text: str) -> None:
    assert tables.size(n_bytes) == text


def test_perplexity_of_a_broken_model_stays_readable() -> None:
    assert tables.perplexity_text(14480.07) == "14480.07"
    assert tables.perplexity_text(3.2e9) == "3.20e+09"


def test_times_of_different_sittings_are_not_compared() -> None:
    """IQ2_XXS measured today, its counterpart tomorrow: the same windows, but no pass holds both."""
    records = [file_record("IQ2_XXS", "Standard", 100), file_record("DG-IQ2_XXS", "DynamicGate", 120)]
    for i in range(6):
        records += [
            window_record("IQ2_XXS", i, 10, 1).model_copy(update={"sitting": "today"}),
            window_record("DG-IQ2_XXS", i, 9, 3).model_copy(update={"sitting": "tomorrow" if i < 4 else "today"}),
        ]
    [row] = tables.paired_table(run_of(records, windows=6)).to_dict("records")  # type: ignore[arg-type]
    assert row["Time ratio [95 %]"] == "3.000" and row["Time"] == "too few passes for an interval (6 are needed)"
    apart = [r.model_copy(update={"sitting": r.recipe}) if r.kind == "window" else r for r in records]
    [row] = tables.paired_table(run_of(apart, windows=6)).to_dict("records")  # type: ignore[arg-type]
    assert row["Time ratio [95 %]"] == "–" and row["Time"] == "not measured in one sitting"
    assert row["Verdict"] == "better", "scores compare whenever they were made"


def of_two_sites(windows: int = 12, *, slower: float = 2.0) -> list[Record]:
    """Every other window at a site whose CPU is so much slower."""
    records: list[Record] = [file_record("F16", "Reference", 384), file_record("IQ1_S", "Standard", 60)]
    for i in range(windows):
        where = {"site": f"site-{i % 2}", "cpu": f"CPU {i % 2}", "sitting": "today"}
        for name, seconds in (("F16", 4.0), ("IQ1_S", 3.0 + i / 1000)):
            record = window_record(name, i, 10, seconds * (slower if i % 2 else 1))
            records.append(record.model_copy(update=where))
    return records


def test_speeds_of_sites_with_other_cpus_have_rows_of_their_own() -> None:
    run = run_of(of_two_sites(), windows=12)
    rows = [list(row.values()) for row in by_cpu_table(run).to_dict("records")]
    assert [row[:5] for row in rows] == [
        ["F16", "CPU 0", "6", "4.00 s", "512"],
        ["F16", "CPU 1", "6", "8.00 s", "256"],
        ["IQ1_S", "CPU 0", "6", "3.00 s", "682"],
        ["IQ1_S", "CPU 1", "6", "6.01 s", "341"],
    ]
    assert rows[0][-2:] == ["–", "–"] and [row[-1] for row in rows[2:]] == ["faster", "faster"]
    [note] = [n for n in notes(run) if "different CPUs" in n]
    assert "CPU 0: 12 windows; CPU 1: 12 windows" in note
    assert "Speed by CPU model" in summarize(run).markdown


def test_speeds_on_one_cpu_need_no_such_table() -> None:
    assert by_cpu_table(small_run()).empty  # type: ignore[arg-type]
