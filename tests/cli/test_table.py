"""Tables on a terminal: as wide as it is, the important columns first."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from bench.cli.table import Look, beside, fit, print_table
from bench.measures.registry import all_measures, load_run
from bench.present.files import all_files
from tests.conftest import Outcome

PUBLISHED = Path(__file__).parents[2] / "results" / "smollm2-135m-instruct"

COLUMNS = {
    "Recipe": ["IQ2_XXS", "DG-IQ2_XXS"],
    "Load": ["0.1 s", "0.2 s"],
    "KL [95 %]": ["0.1 [0.0, 0.2]", "–"],
    "Size": ["68.1M", "70.8M"],
    "Verdict": ["better", "worse"],
}


def printed(frame: pd.DataFrame, capsys: pytest.CaptureFixture[str], look: Look) -> list[str]:
    print_table(frame, look)
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in capsys.readouterr().out.splitlines()]


def test_with_room_everything_is_shown() -> None:
    assert fit(COLUMNS, 49) == COLUMNS  # 10 + 5 + 14 + 5 + 7 and four gaps of 2


def test_intervals_go_before_columns() -> None:
    shown = fit(COLUMNS, 48)
    assert [*shown] == ["Recipe", "Load", "KL", "Size", "Verdict"] and shown["KL"] == ["0.1", "–"]


def test_a_heading_names_an_interval_only_where_there_is_one() -> None:
    assert [*fit({"Recipe": ["A"], "PPL [95 %]": ["12.3"]}, 80)] == ["Recipe", "PPL"]


def test_columns_go_by_what_they_matter_and_the_others_stay_in_order() -> None:
    assert [*fit(COLUMNS, 31)] == ["Recipe", "KL", "Size", "Verdict"]
    assert [*fit(COLUMNS, 26)] == ["Recipe", "Size", "Verdict"]
    assert [*fit(COLUMNS, 3)] == ["Recipe"]


def test_intervals_that_are_asked_for_cost_columns_instead() -> None:
    shown = fit(COLUMNS, 45, intervals=True)
    assert [*shown] == ["Recipe", "KL [95 %]", "Size", "Verdict"] and shown["KL [95 %]"] == COLUMNS["KL [95 %]"]


def test_markdown_where_it_goes_into_a_file_and_a_table_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.DataFrame(COLUMNS)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed(frame, capsys, Look())[0].startswith("| Recipe     |")
    table = printed(frame, capsys, Look("table"))
    assert max(map(len, table)) <= 30 and table[0].split() == ["Recipe", "Size", "Verdict"]
    assert " ".join(" ".join(table[4:]).split()) == "Not shown for want of room: Load, KL."
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert printed(frame, capsys, Look()) == table
    assert printed(frame, capsys, Look("md"))[0].startswith("| Recipe     |")


@pytest.mark.parametrize("length", [50, 80])
def test_long_names_are_folded_and_figures_stay(
    length: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"{i}-{'a-very-long-name-' * 5}"[: length - 5] + ".gguf" for i in range(2)]
    figures = {"PPL [95 %]": ["12.3 [12.0, 12.6]", "–"], "Size": ["68.1M", "70.8M"], "Verdict": ["better", "worse"]}
    lines = printed(pd.DataFrame({"Recipe": names, **figures}), capsys, Look("table"))
    assert max(map(len, lines)) <= 80 and "…" not in "".join(lines)
    shown = {word for line in lines for word in line.split()}
    assert {"PPL", "Size", "Verdict", "12.3", "68.1M", "70.8M", "better", "worse"} <= shown
    first = "".join(line.partition("  ")[0].strip() for line in lines)
    assert all(name in first for name in names), "no character of a name is lost"


def test_a_long_name_that_has_room_is_not_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "n" * 60
    lines = printed(pd.DataFrame({"Recipe": [name], "Size": ["68.1M"]}), capsys, Look("table"))
    assert lines[2].split() == [name, "68.1M"]


def test_a_table_of_nothing_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(pd.DataFrame(), capsys, Look("table")) == [] and printed(pd.DataFrame(), capsys, Look()) == []


def test_what_shows_intervals_is_told_whether_or_not_there_is_an_option(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "48")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert "--intervals shows them." in " ".join(printed(pd.DataFrame(COLUMNS), capsys, Look()))
    print_table(pd.DataFrame(COLUMNS))
    said = " ".join(capsys.readouterr().out.split())
    assert "a wider terminal, or output into a file, shows them." in said and "--intervals" not in said


def test_beside_a_name_a_text_is_folded_on_a_terminal_and_whole_in_a_pipe() -> None:
    text = "one two three " + "long" * 10
    assert beside("name", text, 6, None) == f"name  {text}"
    assert beside("name", text, 6, 16).splitlines() == ["name  one two", "      three", "      " + "long" * 10]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("intervals", [False, True])
def test_the_tables_of_a_published_run_fit_and_no_cell_is_cut(
    width: int, intervals: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    run = load_run(PUBLISHED)
    tables = [t for m in all_measures() for s in [*m.headline(run), *m.sections(run)] for t in s.tables if not t.text]
    assert len(tables) >= 4
    for table in [*tables, all_files(run, everywhere=True)]:
        lines = printed(table.frame, capsys, Look("table", intervals))
        assert max(map(len, lines)) <= width and "…" not in "".join(lines), table.caption
        for name in map(str, table.frame.iloc[:, 0]):
            assert any(line.startswith(name) for line in lines)


def test_the_headline_is_whole_at_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run = load_run(PUBLISHED)
    [table] = [t for m in all_measures() for s in m.headline(run) if s.bare for t in s.tables]
    lines = printed(table.frame, capsys, Look("table"))
    assert len(lines) == 2 + 1 + len(table.frame), "nothing is left out, so nothing is said to be"


def test_tables_shows_all_as_markdown_and_the_main_ones_as_a_table(
    bench: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("records.jsonl", "tokens.parquet"):
        shutil.copy(PUBLISHED / name, tmp_path)
    whole: Outcome = bench("tables", tmp_path)  # type: ignore[operator]
    assert whole.out.count("\n|") > 50
    short: Outcome = bench("tables", tmp_path, "--format", "table")  # type: ignore[operator]
    lines = short.out.splitlines()
    assert len(lines) <= 50 and "Findings" in lines and f"All tables: {tmp_path / 'tables' / 'tables.md'}" in lines
