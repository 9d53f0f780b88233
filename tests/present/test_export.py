"""Tables for other programs, and rounds as pytest-benchmark stores them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sysconfig
from pathlib import Path

import pandas as pd
import pytest

from bench.core.errors import BenchError
from bench.measures.registry import load_run
from bench.measures.windows.rounds import benchmark_json, read_rounds, write_benchmark_json
from bench.measures.windows.runs import windows_of
from bench.present.check import check
from bench.present.export import FORMATS, export_table, exported, format_of, latex, latex_text, units_in_header
from bench.present.thresholds import read_thresholds
from bench.records.run import Run
from tests.support.records import file_record, published_run, run_of, window_record

RESULTS = Path(__file__).parents[2] / "results"


def run(seconds: float = 2.0, windows: int = 6) -> Run:
    records = [file_record("F16", "Reference", 900_000), file_record("IQ1_S", "Standard", 100_000)]
    for i in range(windows):
        records += [window_record("F16", i, 5, 4), window_record("IQ1_S", i, 10, seconds + i / 10)]  # type: ignore[list-item]
    return run_of(records, windows=windows)  # type: ignore[arg-type]


#: Tables that the published run lacks: it was not asked for them, or is of an early version.
_OF_SOME_RUNS = (
    "problems", "samples", "propagation", "others", "caches", "cache_positions", "recall", "bits", "distances",
    "tasks", "task_scores", "task_pairs", "prediction",
)  # fmt: skip


@pytest.fixture(scope="module")
def published() -> Run:
    return load_run(RESULTS / "smollm2-135m-instruct-sizes")


def test_every_table_comes_in_every_format(published: Run, tmp_path: Path) -> None:
    """Those that the published run has; what it lacks is said in words."""
    for name in exported():
        try:
            forms = FORMATS if name != "tokens" else ("parquet", "csv")
            rows = {form: _rows(published, name, form, tmp_path / f"{name}.{form}") for form in forms}
        except BenchError as e:
            assert name in _OF_SOME_RUNS and "this run has none; it takes" in str(e)
            continue
        assert rows["parquet"] == rows["csv"] > 0, name
        assert rows.get("md", 1) == rows.get("latex", 1) > 0, name


def _rows(run: Run, table: str, form: str, out: Path) -> int:
    assert export_table(run, table, form, out) == ""
    if form == "parquet":
        return len(pd.read_parquet(out))
    text = out.read_text(encoding="utf-8")
    if form == "csv":
        return len(list(csv.reader(io.StringIO(text)))) - 1
    return text.count(" \\\\\n") - 1 if form == "latex" else text.count("\n") - 2


def test_numbers_are_raw_in_parquet_and_csv(tmp_path: Path) -> None:
    export_table(published_run(), "comparison", "parquet", tmp_path / "t.parquet")
    row = pd.read_parquet(tmp_path / "t.parquet").to_dict("records")[0]
    assert row["standard_ppl"] == pytest.approx(11.30) and row["dynamicgate_bytes"] == 2_600_000_000
    assert row["ppl_change"] == pytest.approx(9.84 / 11.30 - 1)
    text = export_table(published_run(), "paired", "csv")
    found = next(csv.DictReader(io.StringIO(text)))
    assert found["recipe"] == "DG-IQ2_XXS" and float(found["bytes_change"]) == pytest.approx(0.04)
    assert float(found["time_ratio"]) == pytest.approx(246 / 234) and found["time_ratio_low"] == ""


def test_latex_to_the_letter() -> None:
    text = export_table(published_run(), "comparison", "latex")
    assert text.splitlines()[:7] == [
        "% Llama-3-8B-Instruct, 1 window of 2048 tokens of fixed evaluation prompts; needs \\usepackage{booktabs}",
        r"\begin{tabular}{lrrrrrrrr}",
        r"  \toprule",
        r"  Quantization & Standard PPL & DynamicGate PPL & $\Delta$ PPL (\%) & Std Size (GB) & DG Size (GB) & $\Delta$ Size (GB)"
        r" & Std Speed (s) & DG Speed (s) \\",
        r"  \midrule",
        r"  IQ2\_XXS & 11.30 & 9.84 & $-$12.9 & 2.5 & 2.6 & +0.1 & 234 & 246 \\",
        r"  IQ2\_XS & 11.72 & 11.63 & $-$0.8 & 2.7 & 2.8 & +0.1 & 242 & 246 \\",
    ]
    assert text.endswith("  \\bottomrule\n\\end{tabular}\n")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("DG-IQ2_XXS", r"DG-IQ2\_XXS"),
        ("auto@IQ1_S#1", r"auto@IQ1\_S\#1"),
        ("-9.4e-04 [-0.0012, +7.0e+05]", r"$-9.4 \times 10^{-4}$ [$-$0.0012, $+7.0 \times 10^{5}$]"),
        (
            "5.81 ± 0.18 – Δp < 3 & {a} ^ \\ ~ $",
            r"5.81 $\pm$ 0.18 -- $\Delta$p \textless{} 3 \& \{a\} \textasciicircum{} \textbackslash{} \textasciitilde{} \$",
        ),
        ("2026-01-05", "2026-01-05"),
    ],
)
def test_what_is_special_in_latex_is_escaped(text: str, escaped: str) -> None:
    assert latex_text(text) == escaped


def test_units_move_to_the_header_only_where_all_numbers_share_them() -> None:
    table = pd.DataFrame(
        {
            "Recipe": ["10 s", "20 s"],
            "Size": ["999.0M", "1.2G"],
            "Δ PPL [95 %]": ["-3.0% [-4.0%, +2.0%]", "–"],
            "Window": ["5.81 ± 0.18 s", "4.10 ± 0.02 s"],
            "Time": ["no difference shown", "too noisy to say (interval 20 points wide)"],
            "KL [95 %]": ["0.1", "0.2"],
        }
    )
    moved = units_in_header(table)
    assert list(moved.columns) == ["Recipe", "Size", "Δ PPL (%) [95 %]", "Window (s)", "Time", "KL (nats) [95 %]"]
    assert moved["Δ PPL (%) [95 %]"].tolist() == ["-3.0 [-4.0, +2.0]", "–"]
    assert moved["Window (s)"].tolist() == ["5.81 ± 0.18", "4.10 ± 0.02"]
    for unchanged in ("Recipe", "Size", "Time"):
        assert moved[unchanged].tolist() == table[unchanged].tolist()
    assert latex(table, about="a\nb").startswith("% a b; needs")


def test_the_format_is_asked_for_or_told_by_the_file() -> None:
    assert format_of(None, None) == "md" and format_of("csv", Path("x.md")) == "csv"
    assert [format_of(None, Path(f"x{s}")) for s in (".tex", ".PARQUET", ".csv", ".md")] == [
        "latex",
        "parquet",
        "csv",
        "md",
    ]
    with pytest.raises(
        BenchError, match=r"--format parket: is none of parquet, csv, md, latex; did you mean parquet\?"
    ):
        format_of("parket", None)
    with pytest.raises(BenchError, match=r"--out x\.xls: does not tell the format"):
        format_of(None, Path("x.xls"))


def test_what_cannot_be_exported_is_refused() -> None:
    with pytest.raises(BenchError, match=r"--table window: is none of .*; did you mean windows"):
        export_table(run(), "window", "md")
    with pytest.raises(BenchError, match="name a file with --out FILE"):
        export_table(run(), "files", "parquet")
    with pytest.raises(BenchError, match="take --format parquet or csv"):
        export_table(run(), "tokens", "md")
    with pytest.raises(BenchError, match="--table equal-size: this run has none; it takes recipes with a size"):
        export_table(run(), "equal-size", "md")


def test_rounds_are_those_of_the_records() -> None:
    data = benchmark_json(run())
    by_name = {b["name"]: b for b in data["benchmarks"]}
    assert set(by_name) == {"window[F16]", "window[IQ1_S]", "generation[F16]", "generation[IQ1_S]"}
    stats = by_name["window[IQ1_S]"]["stats"]
    assert stats["data"] == pytest.approx([2.0, 2.1, 2.2, 2.3, 2.4, 2.5])
    assert stats["median"] == pytest.approx(2.25) and stats["min"] == 2.0 and stats["rounds"] == 6
    assert by_name["generation[F16]"]["stats"]["data"] == [0.08] * 6
    assert by_name["window[IQ1_S]"]["extra_info"]["windows"] == [0, 1, 2, 3, 4, 5]
    assert data["machine_info"]["cpu"]["brand_raw"] == "Test CPU"


def test_pytest_benchmark_compares_two_files(tmp_path: Path) -> None:
    """Its own command, on files of runs of which one is 1.5 times as slow."""
    for name, seconds in (("baseline", 2.0), ("run", 3.125)):
        (tmp_path / name).mkdir()
        write_benchmark_json(run(seconds), tmp_path / name / "benchmark.json")
    command = Path(sysconfig.get_path("scripts")) / "pytest-benchmark"
    files = ["baseline/benchmark.json", "run/benchmark.json"]
    shown = subprocess.run(
        [command, "compare", *files, "--columns=median,rounds", "--sort=name"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    lines = {line.split("  ")[0]: line.split() for line in shown.stdout.splitlines() if line.startswith("window[")}
    assert lines["window[IQ1_S] (baseline/benchmark)"][2] == "2.2500"
    assert lines["window[IQ1_S] (run/benchmark)"][2:5] == ["3.3750", "(1.50)", "6"]
    listed = subprocess.run(
        [command, "compare", *files, "--between=median"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "+50.0%" in listed.stdout


def test_rounds_come_back_as_they_were(tmp_path: Path) -> None:
    write_benchmark_json(run(), tmp_path / "b.json")
    again = read_rounds(tmp_path / "b.json", run())
    assert windows_of(again).by_file == windows_of(run()).by_file and again.files == run().files


def test_check_takes_the_speed_from_the_file(tmp_path: Path) -> None:
    """Rounds of IQ1_S edited to 1.2 times the baseline's: the check sees what the file says, not what the records say."""
    path = tmp_path / "b.json"
    write_benchmark_json(run(), path)
    data = json.loads(path.read_text())
    for benchmark in data["benchmarks"]:
        if benchmark["name"] == "window[IQ1_S]":
            benchmark["stats"]["data"] = [1.2 * s for s in benchmark["stats"]["data"]]
    path.write_text(json.dumps(data))
    report = check(run(), run(), read_thresholds(), timed=read_rounds(path, run()))
    assert [(r.recipe, r.figure.name, r.cells()["Change [95 %]"]) for r in report.worse if r.figure] == [
        ("IQ1_S", "Time of a window", "1.200 [1.200, 1.200]")
    ]
    assert not check(run(), run(), read_thresholds()).worse


def test_files_of_other_or_older_records_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    write_benchmark_json(run(windows=5), path)
    with pytest.raises(
        BenchError, match=r"lacks F16's round of window 5, which is on record since; write it again with"
    ):
        read_rounds(path, run())
    data = json.loads(path.read_text())
    data["run"]["id"] = "another"
    path.write_text(json.dumps(data))
    with pytest.raises(BenchError, match="has the rounds of run another, not of r;"):
        read_rounds(path, run())
    for text in ("{", "[]", '{"benchmarks": []}'):
        path.write_text(text)
        with pytest.raises(BenchError, match="is not a file of `bench export --benchmark-json`"):
            read_rounds(path, run())
    with pytest.raises(BenchError, match="cannot be read"):
        read_rounds(tmp_path / "nothing.json", run())


def test_a_run_without_rounds_has_nothing_to_write(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no timed window yet; run it first"):
        write_benchmark_json(run(windows=0), tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()


def test_a_checkout_that_was_changed_is_told_apart_from_its_commit() -> None:
    found = run()
    header = found.header.model_copy(update={"versions": {"commit": "abc123-dirty"}})
    info = benchmark_json(Run(header, found.records))["commit_info"]
    assert (info["id"], info["dirty"]) == ("abc123", True)  # type: ignore[index]
