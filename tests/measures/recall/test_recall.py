"""Recall at a distance: against one decode of the whole sequence, and the statistics by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.core.progress import Reporter
from bench.engine.context import Context
from bench.engine.llama import Model
from bench.engine.settings import PLAIN, Cache
from bench.measures.recall.jobs import Recalled
from bench.measures.recall.options import PASSAGE, Asked
from bench.measures.recall.plots import draw
from bench.measures.recall.records import RecallRecord
from bench.measures.recall.runs import recall_of
from bench.measures.recall.tables import recall_frame, recall_table
from bench.measures.registry import load_run
from bench.present.output import summarize
from bench.present.pages.repeat import command
from bench.records.run import FILE_NAME, Record, Run
from bench.sweep.sweep import Sweep
from bench.texts.stream import TokenStream
from bench.workbench.options import Options
from bench.workbench.work import Work
from tests.conftest import Outcome
from tests.support.records import file_record, run_of

Q8, WINDOW = Cache(k="q8_0", v="q8_0"), 192


@pytest.fixture(scope="module")
def options(tiny: Path, text: Path, cache: Path) -> Options:
    return Options(
        model=str(tiny), text=text, recipes=("Q4_0",), no_imatrix=True, window=WINDOW, windows=2, threads=1, cache=cache, no_speed=True,
        measures={"recall": Asked(distances=("16", "64"), caches=("q8_0",))},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(options: Options, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("recall")
    Sweep(replace(options, out=out), Reporter()).execute()
    return load_run(out)


def test_it_is_what_one_decode_of_all_gives(options: Options, run: Run) -> None:
    work = Work(options, Reporter())
    stream = TokenStream.load(work.executor.site.path(work.stream(options.text).content))
    found = recall_of(run)["F16"][PLAIN][64]
    assert [r.item for r in found] == [0, 1] and {r.tokens for r in found} == {PASSAGE - 1}
    begin = WINDOW
    passage = stream.tokens[begin : begin + PASSAGE]
    tokens = np.concatenate([stream.tokens[begin : begin + PASSAGE + 64], passage])
    with (
        Model(Path(str(options.model))) as model,
        Context(model, n_ctx=512, n_batch=512, n_ubatch=512, threads=1) as context,
    ):
        context.prepare(tokens, 0)
        context.decode()
        logits = context.logits()[:-1].astype(np.float64)
    nll = np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)) + logits.max(axis=1)
    nll -= logits[np.arange(len(tokens) - 1), tokens[1:]]
    assert found[1].first == pytest.approx(nll[: PASSAGE - 1].sum(), rel=1e-3)
    assert found[1].second == pytest.approx(nll[-(PASSAGE - 1) :].sum(), rel=1e-3)


def test_every_file_has_every_distance_with_every_cache(run: Run) -> None:
    frame = recall_frame(run)
    assert len(frame) == 2 * 2 * 2 and set(frame["distance"]) == {16, 64}
    table = recall_table(run)
    assert table.loc[(table["Recipe"] == "F16") & (table["Cache"] == "f16"), "Δ gain [95 %]"].to_list() == ["–", "–"]
    assert "## Recall at a distance" in summarize(run).markdown and set(draw(run)) == {"recall"}
    assert "--recall 16,64 --recall-cache-types q8_0" in command(run)


def test_a_run_goes_on_with_further_distances(options: Options, run: Run, tmp_path: Path) -> None:
    assert run.directory is not None
    (tmp_path / FILE_NAME).write_bytes((run.directory / FILE_NAME).read_bytes())
    asked = replace(options, out=tmp_path, measures={"recall": Asked(distances=("16", "32"))})
    sweep = Sweep(asked, Reporter())
    assert sweep.pending(load_run(tmp_path))
    sweep.execute()
    again = load_run(tmp_path)
    assert set(recall_of(again)["F16"][PLAIN]) == {16, 32, 64}
    assert recall_of(again)["F16"][PLAIN][16] == recall_of(run)["F16"][PLAIN][16]
    assert [r.distances for r in again.of(RecallRecord)][-2:] == [(32,), (32,)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recall", "65"], "--recall 65: with its passages of 64 tokens it is longer than a window of 192; give at most 64"),
        (["--recall", "far"], "--recall far: is no number of tokens"),
        (["--recall", "16", "--recall-cache-types", "q8"], "--recall-cache-types q8: llama.cpp has no cache type 'q8'"),
        (["--recall-cache-types", "q8_0"], "--recall-cache-types says how recall is measured; give --recall too"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_computed(
    bench: Callable[..., Outcome], options: Options, tmp_path: Path, arguments: list[str], said: str
) -> None:
    outcome = bench(
        "run", "--model", options.model, "--text", options.text, "--recipes", "Q4_0", "--no-imatrix", "--window", WINDOW, "--threads", 1,
        "--cache", tmp_path / "cache", "--out", tmp_path / "out", *arguments,
    )  # fmt: skip
    assert outcome.code == 2 and said in outcome.err and "Traceback" not in outcome.err
    assert not (tmp_path / "out" / FILE_NAME).exists()


def recalled(name: str, second: float) -> RecallRecord:
    items = tuple(
        Recalled(item=i, distance=256, tokens=63, first=63 * 5.0, second=63 * (second + 0.01 * i)) for i in range(6)
    )
    return RecallRecord(
        run="r", recipe=name, sha256=name, cache=PLAIN, stride=2048, passage=64, distances=(256,), recalled=items
    )


def test_figures_by_hand() -> None:
    records: list[Record] = [file_record("F16", "Reference", 384), file_record("IQ1_S", "Standard", 60)]
    run = run_of([*records, recalled("F16", 0.5), recalled("IQ1_S", 2.0)], windows=6)
    own, other = recall_frame(run).to_dict("records")
    assert own["gain"] == pytest.approx(4.475) and other["gain_change"] == pytest.approx(-1.5)
    assert other["nll_first"] == pytest.approx(5) and other["nll_again"] == pytest.approx(2.025)
    assert recall_table(run)["Verdict"].to_list() == ["–", "less recalled"]
