"""Reading what llama.cpp's tools print, and the report of ratios."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.peers import values as peers_values
from bench.peers.measured import Measured, Round, Targets, report, times
from bench.peers.side_by_side import Ran
from bench.quantize import imatrix_file
from bench.quantize.imatrix import Entry, ImportanceMatrix

DATA = Path(__file__).parents[1] / "data"


def ran(*printed: str) -> Ran:
    return Ran(1.0, 1, 0, printed, 0.0)


def test_perplexity_is_read_from_both() -> None:
    tool = "[1]5.0\n0.09.529 I Final estimate: PPL = 220.2626 +/- 17.18842\n"
    ours = '04:00:12 Scoring, 2 of 8\n{"ppl": 220.26257, "se": 17.1884201}'
    assert [(v.tools, v.ours) for v in peers_values.perplexity(tool, ours)] == [
        ("220.2626", "220.2626"),
        ("17.18842", "17.18842"),
    ]
    with pytest.raises(BenchError, match="printed no final estimate"):
        peers_values.perplexity("something else", ours)


def test_divergence_is_read_from_both(tmp_path: Path) -> None:
    """Stored output of llama-perplexity against a text in our own form."""
    printed = (DATA / "llama-perplexity-kl.txt").read_text()
    (tmp_path / "tables").mkdir()
    ours = printed.replace("0.408642", "0.408699")
    (tmp_path / "tables" / "kl-divergence.txt").write_text(f"# A\n\n{printed}\n# B\n\n{ours}")
    found = {v.name: (v.tools, v.ours) for v in peers_values.divergence({"A": printed, "B": printed}, tmp_path)}
    assert found["A: Mean KLD"] == ("0.408642", "0.408642") and found["B: Mean KLD"] == ("0.408642", "0.408699")
    assert found["B: Mean PPL(Q)"] == ("1068.783152", "1068.783152")
    with pytest.raises(BenchError, match="printed no"):
        peers_values.divergence({"A": "usage: llama-perplexity"}, tmp_path)


def test_speeds_are_read_from_both_and_paired_by_turn() -> None:
    def told(speed: float, test: str, depth: int = 0) -> str:
        n_prompt, n_gen = (512, 0) if test == "pp512" else (0, 32)
        return f'{{"model_filename": "/x/A.gguf", "n_prompt": {n_prompt}, "n_gen": {n_gen}, "n_depth": {depth}, "avg_ts": {speed}}}'

    tool = ran(
        *(f"load_backend: CPU\n[\n{told(a, 'pp512')},\n{told(b, 'tg32')}\n]\n" for a, b in ((100, 50), (80, 40)))
    )
    ours = ran(*(f"[\n{told(a, 'pp512')},\n{told(b, 'tg32')}\n]\n" for a, b in ((101, 50), (88, 40))))
    found = {v.name: (v.tools, v.ours) for v in peers_values.speeds(tool, ours)}
    assert found == {
        "A: pp512, best tokens a second of 2": ("100.0", "101.0"),
        "A: pp512, ours / tools of 2 turns": ("–", "1.055 [1.010, 1.100]"),
        "A: tg32, best tokens a second of 2": ("50.0", "50.0"),
        "A: tg32, ours / tools of 2 turns": ("–", "1.000 [1.000, 1.000]"),
    }
    deep = ran(f"[\n{told(9, 'pp512', 2048)}\n]\n")
    assert [v.name.partition(",")[0] for v in peers_values.speeds(deep, deep)] == ["A: pp512 @ d2048"] * 2
    with pytest.raises(BenchError, match="no list of speeds in what was printed: error: no such file"):
        peers_values.speeds(ran("error: no such file"), ours)


def test_importance_matrices_are_compared_by_their_means(tmp_path: Path) -> None:
    for name, factor in (("a", 1.0), ("b", 1.001)):
        sums = np.array([[2.0, 4.0 * factor]], np.float32)
        entries = {"blk.0.attn_q.weight": Entry(sums, np.array([2], np.float32))}
        imatrix_file.write(ImportanceMatrix(entries, (), 1, 512), tmp_path / f"{name}.gguf")
    found = {v.name: v.ours for v in peers_values.importance(tmp_path / "a.gguf", tmp_path / "b.gguf")}
    assert found["largest relative difference of a column's mean square"] == "1.0e-03"
    assert found["entries with the same counts of rows"] == "1"


def test_the_report_says_what_was_missed() -> None:
    def measured(work: str, ours: list[float]) -> Measured:
        rounds = [Round(seconds=s, alone=0, peak_bytes=120, disk_bytes=0) for s in ours]
        tools = [Round(seconds=10, alone=0, peak_bytes=100, disk_bytes=0) for _ in ours]
        return Measured(
            work=work,
            targets=Targets(wall=1.0, memory=1.3),
            where="here",
            tools=tuple(tools),
            ours=tuple(rounds),
            values=(),
        )

    both = [measured("fast", [9, 8, 10]), measured("slow", [11])]
    assert times(both).endswith("1 of 2 comparisons missed a target.")
    assert times(both[:1]).endswith("Every comparison met its target.")
    text = report(both)
    fast, slow = (line for line in text.splitlines() if line.startswith(("| fast", "| slow")))
    assert "0.90 [0.80, 1.00] (≤ 1)" in fast and "1.20 [1.20, 1.20] (≤ 1.3)" in fast and fast.endswith("met |")
    assert "1.10 (≤ 1)" in slow and "missed: wall" in slow
