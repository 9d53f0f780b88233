"""A figure over runs: which stand on one line, and what is told of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.present.history import find_runs, history, plot
from bench.records.run import Run
from tests.support.records import file_record, run_of, window_record


def run(
    day: int,
    *,
    ppl: float = 10.0,
    seconds: float = 2.0,
    binding: str = "0.3.36",
    cpu: str = "Test CPU",
    commit: str | None = None,
    windows: int = 6,
    **identity: object,
) -> Run:
    """F16 of perplexity 5 and IQ1_S, measured on a day of January."""
    records = [file_record("F16", "Reference", 1000), file_record("IQ1_S", "Standard", 100)]
    for i in range(windows):
        records += [window_record("F16", i, 5, 2), window_record("IQ1_S", i, ppl, seconds + i)]  # type: ignore[list-item]
    found = run_of(records, windows=windows, **identity)  # type: ignore[arg-type]
    library = found.identity.library.model_copy(update={"binding": binding})
    machine = found.identity.machine.model_copy(update={"cpu": cpu})
    changed = {
        "started": f"2026-01-{day:02}T08:00:00+00:00",
        "identity": found.identity.model_copy(update={"library": library, "machine": machine}),
        "versions": {"dynamicgate-bench": "0.1.0"} | ({"commit": commit} if commit else {}),
    }
    return Run(found.header.model_copy(update=changed), found.records)


def test_runs_of_other_engines_stand_on_one_line_by_date() -> None:
    runs = [("new", run(9, ppl=11, binding="0.4.0")), ("old", run(3, commit="0123456789abcdef"))]
    found = history(runs, "ppl", ["IQ1_S"])
    [lineage] = found.lineages
    assert [name for name, _ in lineage.runs] == ["old", "new"]
    assert found.text() == (
        "## Test model, 6 windows of 2048 tokens: 2 runs\n\n"
        "| Recipe |       Date | llama-cpp-python | Program |       Commit |    Perplexity [95 %] | Run |\n"
        "| :----- | ---------: | ---------------: | ------: | -----------: | -------------------: | --: |\n"
        "| IQ1_S  | 2026-01-03 |           0.3.36 |   0.1.0 | 0123456789ab | 10.00 [10.00, 10.00] | old |\n"
        "| IQ1_S  | 2026-01-09 |            0.4.0 |   0.1.0 |            – | 11.00 [11.00, 11.00] | new |"
    )


def test_recipes_stand_together_the_reference_first() -> None:
    found = history([("a", run(1)), ("b", run(2))], "bytes")
    points = [(p.recipe, p.run, p.value) for p in found.lineages[0].points]
    assert points == [("F16", "a", 1000), ("F16", "b", 1000), ("IQ1_S", "a", 100), ("IQ1_S", "b", 100)]


def test_runs_that_do_not_compare_are_told_apart_with_both_values() -> None:
    found = history([("a", run(1)), ("b", run(2)), ("c", run(3, threads=16))], "ppl")
    assert [[n for n, _ in lineage.runs] for lineage in found.lineages] == [["a", "b"], ["c"]]
    assert "Does not compare with b: settings.threads is 2 in one and 16 in the other" in found.text()


def test_quality_compares_between_machines_and_speed_does_not() -> None:
    runs = [("here", run(1)), ("there", run(2, cpu="Other CPU"))]
    assert len(history(runs, "ppl").lineages) == 1
    timed = history(runs, "window_seconds")
    assert [lineage.apart for lineage in timed.lineages] == [
        (),
        ("machine.cpu is Other CPU in one and Test CPU in the other",),
    ]


def test_runs_without_the_figure_are_told_and_changed_checkouts_are_marked() -> None:
    found = history([("a", run(1, commit="0123456789abcdef-dirty")), ("b", run(2, windows=0))], "ppl")
    assert "Without this figure of a recipe with all its windows: b" in found.text()
    assert {p.commit for p in found.lineages[0].points} == {"0123456789ab-dirty"}


def test_times_have_their_spread_and_a_warning() -> None:
    """Rounds of 2 to 7 s: median 4.5, quartiles 3.25 and 5.75."""
    found = history([("a", run(1)), ("b", run(2))], "window_seconds", ["IQ1_S"])
    [first, _] = found.lineages[0].points
    assert (first.value, first.low, first.high) == (4.5, 3.25, 5.75)
    assert "Times of different runs are not interleaved" in found.text()
    assert "median ± half the interquartile range" in found.text() and "95 %" not in found.text()


@pytest.mark.parametrize(
    ("figure", "recipes", "said"),
    [
        ("pll", [], "--figure pll: is none of ppl, kl.*did you mean ppl"),
        ("ppl", ["IQ1S"], r"--recipe IQ1S: is in none of these runs; did you mean IQ1_S\?"),
        ("kl", [], "--figure kl: none of these runs has it"),
    ],
)
def test_what_no_run_has_is_refused(figure: str, recipes: list[str], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        history([("a", run(1))], figure, recipes)


def test_lines_are_plotted_where_two_runs_compare(tmp_path: Path) -> None:
    found = history([("a", run(1)), ("b", run(2, ppl=300)), ("c", run(3, threads=16))], "ppl")
    assert plot(found, tmp_path / "ppl") == [tmp_path / "ppl.png"]
    drawn = (tmp_path / "ppl.svg").read_text()
    assert all(text in drawn for text in ("Perplexity over 2 runs", "IQ1_S", "F16", "2026-01-01", "2026-01-02"))
    assert "2026-01-03" not in drawn
    assert plot(history([("a", run(1))], "ppl"), tmp_path / "one") == [] and not (tmp_path / "one.png").exists()
    again = history([("a", run(1)), ("b", run(2)), ("c", run(3, threads=16)), ("d", run(4, threads=16))], "ppl")
    assert plot(again, tmp_path / "two") == [tmp_path / "two.png", tmp_path / "two-2.png"]


def test_runs_are_found_below_a_directory(tmp_path: Path) -> None:
    for name in ("a", "local/b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "records.jsonl").touch()
    assert find_runs(tmp_path) == [tmp_path / "a", tmp_path / "local/b"]
    with pytest.raises(BenchError, match="has no runs in it; name the directories of some"):
        find_runs(tmp_path / "nothing")
