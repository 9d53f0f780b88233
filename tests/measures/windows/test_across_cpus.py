"""The default run was published from two processors: what was built and scored is the same at both."""

from __future__ import annotations

from pathlib import Path

from bench.measures.registry import load_run
from bench.measures.windows.runs import windows_of

RESULTS = Path(__file__).parents[3] / "results"


def test_files_and_scores_of_an_intel_and_an_amd_are_the_same_to_the_last_digit() -> None:
    one, other = (load_run(RESULTS / f"smollm2-135m-instruct-{name}") for name in ("default", "default-amd"))
    assert one.identity.machine.cpu != other.identity.machine.cpu
    assert {n: f.sha256 for n, f in one.files.items()} == {n: f.sha256 for n, f in other.files.items()}
    windows, others = windows_of(one).by_file, windows_of(other).by_file
    compared = [
        (windows[n][w].result.tokens, others[n][w].result.tokens) for n in one.files for w in range(one.windows)
    ]
    assert compared and all(a is not None and a == b for a, b in compared)
