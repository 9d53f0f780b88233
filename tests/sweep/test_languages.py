"""A run that scores the fixed texts in some languages: each is a kind of prompt, with figures of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.measures.registry import load_run
from bench.measures.windows.runs import windows_of
from bench.present.output import summarize
from bench.present.pages.repeat import command
from tests.conftest import Outcome


def test_languages_are_kinds_of_prompt(bench: Callable[..., Outcome], tiny: Path, cache: Path, tmp_path: Path) -> None:
    asked = ("run", "--model", tiny, "--recipes", "Q8_0", "--no-imatrix", "--no-speed", "--window", 512, "--windows", 26,
             "--languages", "fr,ja", "--threads", 1, "--cache", cache)  # fmt: skip
    done = bench(*asked, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    run = load_run(tmp_path / "run")
    kinds = {k for r in windows_of(run).by_file["Q8_0"].values() for k in r.result.by_kind}
    assert kinds == {"French", "Japanese"} and "fixed texts in fr, ja" in summarize(run).markdown
    assert "--languages fr,ja" in command(run)
    refused = bench(*("fr,xx" if a == "fr,ja" else a for a in asked), "--out", tmp_path / "other")
    assert refused.code == 2 and "xx" in refused.err.splitlines()[-1]
