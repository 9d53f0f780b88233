"""A run against a baseline: what counts as worse, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.measures.windows.jobs import KindSums, TokenData, pack
from bench.measures.windows.records import WindowRecord
from bench.present.check import Report, check
from bench.present.thresholds import Thresholds, read_thresholds
from bench.records.record import FailureRecord
from bench.records.run import Run
from tests.support.records import file_record, run_of, window_record

#: By how much perplexity differs from its trend in each window; they sum to nothing.
_NOISE = (0.3, -0.3, 0.2, -0.2, 0.1, -0.1)


def window(recipe: str, index: int, ppl: float, seconds: float, kl: float | None = None) -> WindowRecord:
    """A window with two scored tokens whose mean divergence is `kl`; kl None: the reference."""
    record = window_record(recipe, index, ppl, seconds)
    two = {"kind_names": ("text",), "kinds": pack(np.zeros(2), np.uint8), "flags": pack(np.zeros(2), np.uint8)}
    against = (
        {} if kl is None else {"kl": pack(np.array([0, 2 * kl]), np.float32), "p_change": pack(np.zeros(2), np.float32)}
    )
    tokens = TokenData(**two, nll=pack(np.full(2, np.log(ppl)), np.float32), **against)  # type: ignore[arg-type]
    sums = {"text": KindSums(tokens=2, nll=2 * np.log(ppl), squares=2 * np.log(ppl) ** 2 + 2)}
    return record.model_copy(update={"result": record.result.model_copy(update={"tokens": tokens, "by_kind": sums})})


def run(
    *,
    ppl: float = 1.0,
    kl: float = 0.5,
    n_bytes: int = 100_000,
    seconds: float = 2.0,
    machine: float = 1.0,
    noise: float = 0.0,
    windows: int = 6,
    recipes: tuple[str, ...] = ("IQ1_S",),
    **identity: object,
) -> Run:
    """F16 and recipes. ppl: factor of their perplexity; noise: how far windows are from that; machine: factor of all times."""
    records = [file_record("F16", "Reference", 900_000), *(file_record(r, "Standard", n_bytes) for r in recipes)]
    for i in range(windows):
        off = 1 + noise * _NOISE[i]
        records.append(window("F16", i, 5 + i, 4 * machine))  # type: ignore[arg-type]
        records += [window(r, i, (10 + i) * ppl * off, seconds * machine, kl * off) for r in recipes]  # type: ignore[misc]
    return run_of(records, windows=windows, **identity)  # type: ignore[arg-type]


def checked(this: Run, baseline: Run | None = None, **limits: float) -> Report:
    return check(this, baseline or run(), read_thresholds().model_copy(update=limits))


def verdicts(report: Report) -> dict[str, str]:
    return {r.figure.name: r.verdict for r in report.rows if r.figure and r.recipe == "IQ1_S"}


def test_the_same_again_is_not_worse() -> None:
    report = checked(run())
    assert not report.worse and report.conclusion() == "Nothing got worse beyond its limit"
    assert verdicts(report) == {
        "Perplexity": "equal to the last digit",
        "KL divergence": "equal to the last digit",
        "Size": "equal",
        "Time of a window": "no difference shown",
        "Time of generation": "no difference shown",
    }
    assert verdicts(checked(run(windows=2), run(windows=2)))["Perplexity"] == "equal to the last digit", "few suffice"
    assert {r.figure.name for r in report.rows if r.figure and r.recipe == "F16"} == {"Perplexity", "Size"}


@pytest.mark.parametrize(
    ("changed", "figure", "change", "limit"),
    [
        ({"ppl": 1.006}, "Perplexity", "+0.60% [+0.60%, +0.60%]", "+0.50%"),
        ({"kl": 0.515}, "KL divergence", "+3.00% [+3.00%, +3.00%]", "+2.00%"),
        ({"n_bytes": 100_200}, "Size", "+0.20%", "+0.10%"),
        ({"seconds": 2.2}, "Time of a window", "1.100 [1.100, 1.100]", "1.050"),
    ],
)
def test_each_figure_has_its_limit(changed: dict[str, float], figure: str, change: str, limit: str) -> None:
    report = checked(run(**changed))  # type: ignore[arg-type]
    failed = {r.figure.name: r.cells() for r in report.worse if r.figure}
    assert failed[figure]["Change [95 %]"] == change and failed[figure]["Limit"] == limit
    assert set(failed) - {"Time of generation"} == {figure}, (
        "generation is as much slower as windows are in these records"
    )
    assert failed[figure]["Verdict"] == "worse" and f"IQ1_S {figure}" in report.conclusion()


def test_what_stays_within_its_limit_is_told_but_no_failure() -> None:
    report = checked(run(ppl=1.004))
    assert not report.worse and verdicts(report)["Perplexity"] == "within the limit"
    assert verdicts(checked(run(ppl=0.9)))["Perplexity"] == "better"


def test_a_rise_over_the_limit_counts_only_beyond_its_uncertainty() -> None:
    """+2.5 % on (geometric) average, from -27 % to +37 % by window: nothing is shown."""
    noisy = checked(run(ppl=1.05, noise=1.0))
    assert verdicts(noisy)["Perplexity"] == "over the limit, but within uncertainty"
    assert not any(r.figure and r.figure.name == "Perplexity" for r in noisy.worse)
    few = checked(run(ppl=1.5, windows=5), run(windows=5))
    assert (
        verdicts(few)["Perplexity"] == "over the limit, but too few windows for an interval (6 are needed)"
        and not few.worse
    )


def test_a_slower_machine_is_not_a_slower_recipe_but_is_told() -> None:
    report = checked(run(machine=1.7))
    assert not report.worse
    assert any(t.startswith("Times are relative to F16, which itself took 1.700 [1.700, 1.700]") for t in report.told)


def test_on_another_machine_quality_is_checked_and_speed_is_not() -> None:
    other = run(ppl=1.1, seconds=9.0)
    machine = other.identity.machine.model_copy(update={"cpu": "Other CPU"})
    identity = other.identity.model_copy(update={"machine": machine})
    report = checked(Run(other.header.model_copy(update={"identity": identity}), other.records))
    assert {r.figure.name for r in report.worse if r.figure} == {"Perplexity"}
    assert "Differs from the baseline: machine.cpu is Test CPU in one and Other CPU in the other" in report.told
    assert "Speed is left out: measured on another machine" in report.told


def test_another_engine_is_what_one_checks() -> None:
    new = run(ppl=1.1)
    library = new.identity.library.model_copy(update={"llama_cpp": "0.6.0"})
    identity = new.identity.model_copy(update={"library": library})
    report = checked(Run(new.header.model_copy(update={"identity": identity}), new.records))
    assert "Differs from the baseline: library.llama_cpp is 0.5.0 in one and 0.6.0 in the other" in report.told
    assert [r.figure.name for r in report.worse if r.figure] == ["Perplexity"]


def test_other_settings_are_refused_with_the_field() -> None:
    with pytest.raises(BenchError, match=r"settings\.threads is 2 in one and 16 in the other"):
        checked(run(threads=16))


def test_other_rules_behind_a_name_are_refused() -> None:
    def ruled(rules: str) -> Run:
        found = run()
        files = [f.model_copy(update={"rules": rules}) for f in found.files.values()]
        return Run(found.header, (*files, *(r for r in found.records if r.kind != "file")))

    with pytest.raises(BenchError, match="F16 stands for other rules"):
        checked(ruled("a"), ruled("b"))


def test_what_was_never_asked_of_the_run_is_told_and_not_worse() -> None:
    report = checked(run(recipes=("IQ2_S",)), run(recipes=("IQ1_S", "IQ2_S")))
    assert not report.worse and "Not asked of the run, so not checked: IQ1_S" in report.told
    report = checked(run(recipes=("IQ2_S",)), run(recipes=("IQ1_S",)))
    assert not report.worse and "New, so not checked: IQ2_S" in report.told


def test_what_was_asked_of_the_run_and_is_not_there_is_worse() -> None:
    half = run()
    half = Run(half.header, half.records[:-2])
    assert [(r.recipe, r.verdict) for r in checked(half).worse] == [
        ("F16", "missing: 5 of 6 windows"),
        ("IQ1_S", "missing: 5 of 6 windows"),
    ]
    without = run(recipes=("IQ2_S",))
    failed = FailureRecord(run=without.header.id, recipe="IQ1_S", window=None, reason="no room")
    report = checked(Run(without.header, (*without.records, failed)))
    assert [(r.recipe, r.verdict) for r in report.worse] == [("IQ1_S", "missing: no room")]


def test_named_recipes_are_checked_and_no_others() -> None:
    both = ("IQ1_S", "IQ2_S")
    report = check(run(recipes=both, ppl=1.1), run(recipes=both), read_thresholds(), recipes=["iq2_s"])
    assert {r.recipe for r in report.rows} == {"IQ2_S"} and report.worse
    lacking = check(run(recipes=("IQ2_S",)), run(recipes=both), read_thresholds(), recipes=both)
    assert [(r.recipe, r.verdict) for r in lacking.worse] == [("IQ1_S", "missing: not in the run")]
    with pytest.raises(BenchError, match=r"--recipes IQ2_XS: the baseline has no complete .* did you mean IQ2_S"):
        check(run(recipes=both), run(recipes=both), read_thresholds(), recipes=["IQ2_XS"])


def test_what_is_worse_stands_first() -> None:
    report = checked(run(kl=0.6), run())
    assert next(r.figure.name for r in report.rows if r.figure) == "KL divergence"
    noisy = checked(run(ppl=1.05, noise=1.0, n_bytes=200_000))
    assert [r.figure.name for r in noisy.rows if r.figure][:2] == ["Size", "Perplexity"], "worse, then over the limit"


def test_without_a_reference_in_both_there_is_no_speed() -> None:
    found = run(seconds=9.0)
    alone = Run(found.header, tuple(r for r in found.records if getattr(r, "recipe", "") != "F16"))
    report = checked(alone)
    assert not report.worse and "Not asked of the run, so not checked: F16" in report.told
    assert "Speed is left out: there is no reference to take it relative to in both runs" in report.told


def test_times_that_no_pass_has_in_common_are_no_failure() -> None:
    """The recipe was measured on another day than the reference."""
    later = run(seconds=9.0)
    records = [
        r.model_copy(update={"sitting": "later"}) if r.kind == "window" and r.recipe == "IQ1_S" else r
        for r in later.records
    ]
    report = checked(Run(later.header, tuple(records)))
    assert verdicts(report)["Time of a window"] == "not measured in one sitting" and not report.worse


def test_a_figure_that_the_run_lost_is_missing() -> None:
    without = run()
    records = [
        r.model_copy(update={"result": r.result.model_copy(update={"tokens": None})}) if r.kind == "window" else r
        for r in without.records
    ]
    report = checked(Run(without.header, tuple(records)))
    assert [(r.figure.name, r.verdict) for r in report.worse if r.figure] == [("KL divergence", "missing")]


def test_own_limits_go_before_the_packaged_ones(tmp_path: Path) -> None:
    own = tmp_path / "limits.toml"
    own.write_text("ppl_percent = 50.0\n")
    limits = read_thresholds(own)
    assert limits == Thresholds(
        ppl_percent=50, kl_percent=2, size_percent=0.1, window_time_ratio=1.05, generation_time_ratio=1.05
    )
    assert not check(run(ppl=1.4), run(), limits).worse


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ppl_percnt = 1.0", "ppl_percnt: unknown key; did you mean ppl_percent"),
        ("kl_percent = -1.0", "kl_percent: Input should be greater than or equal to 0"),
        ("window_time_ratio = 0.05", "window_time_ratio: Input should be greater than or equal to 1"),
        ('size_percent = "much"', "size_percent: Input should be a valid number"),
        ("ppl_percent = ", "cannot be read as TOML"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, said: str) -> None:
    own = tmp_path / "limits.toml"
    own.write_text(text)
    with pytest.raises(BenchError) as error:
        read_thresholds(own)
    assert str(own) in str(error.value) and said in str(error.value)


def test_a_loss_that_few_windows_cannot_decide_is_named() -> None:
    report = checked(run(ppl=3, windows=2), run(windows=2))
    assert not report.worse and "Perplexity" in verdicts(report)
    assert verdicts(report)["Perplexity"] == "over the limit, but too few windows for an interval (6 are needed)"
    assert "an interval takes 6 windows" in report.conclusion()


def test_divergence_at_rounding_level_is_no_loss() -> None:
    report = checked(run(kl=5e-7), run(kl=0.0))
    [row] = [r for r in report.rows if r.figure and r.figure.key == "kl"]
    assert row.verdict == "at the measurement floor" and not row.worse
